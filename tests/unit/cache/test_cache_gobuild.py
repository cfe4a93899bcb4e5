"""Building from Go modules, with stand-ins for compilers: what runs, what is kept, what fails."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from subprocess import Popen
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.catalog import CRecipe, GoRecipe
from ohmykube.cache.sources.build_slots import BuildSlots, available_gib
from ohmykube.cache.sources.gobuild import Builder
from ohmykube.cache.store import Store
from ohmykube.errors import (
    IntegrityError,
    Interrupted,
    NetworkError,
    PrerequisiteError,
    ResourceError,
)
from ohmykube.kit import digest, interrupt
from ohmykube.model.artifact import Kind
from tests.module_proxy import h1, zip_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Programs, Recorder

GO = "go1.26.8 linux/amd64"
PLUGINS = GoRecipe(
    module="cni.org/plugins",
    version="v1.9.1",
    sum="h1:good=",
    packages={"bridge": "cni.org/plugins/main/bridge", "portmap": "cni.org/plugins/meta/portmap"},
)
ETCD = replace(PLUGINS, module="etcd.org/server/v3", packages={"etcd": "etcd.org/server/v3"})
RUNC = replace(
    PLUGINS,
    module="oci.org/runc",
    packages={"runc": "oci.org/runc"},
    cgo=True,
    tags="seccomp,netgo",
    ldflags="-X main.version=1 -extldflags -static",
    libraries=("seccomp",),
)
KUBERNETES = replace(
    PLUGINS,
    module="k8s.org/kubernetes",
    version="v1.36.3",
    staging="v0.36.3",
    packages={"kubeadm": "k8s.org/kubernetes/cmd/kubeadm"},
)
PAUSE = CRecipe(binary="pause", source="pause.c", version="3.10.2")
BRIDGE = digest.of_bytes(b"binary of cni.org/plugins/main/bridge")
PORTMAP = digest.of_bytes(b"binary of cni.org/plugins/meta/portmap")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def builder(store: Store, recorder: Recorder, programs: Programs) -> Builder:
    return Builder(store, recorder, slots=BuildSlots(memory_gib=8, jobs=2))


def test_one_build_makes_all_binaries_of_a_module(
    builder: Builder, store: Store, programs: Programs
) -> None:
    found = builder.binaries(PLUGINS, "amd64")
    assert found == {"bridge": store.path(BRIDGE), "portmap": store.path(PORTMAP)}
    (build,) = programs.calls("go build")
    for argument in ("-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags -s -w", "-o out/"):
        assert argument in build
    assert "CGO_ENABLED=0" in build
    assert "GOTOOLCHAIN=local" in build
    ref = store.ref(Kind.BINARY, "bridge", "v1.9.1", "amd64")
    assert ref is not None
    assert (ref.source, ref.digest) == ("build", BRIDGE)
    assert ref.upstream_sum == f"{PLUGINS.name} h1:good= (sum.golang.org)"
    assert list((store.root / "build").iterdir()) == []


def test_what_was_built_is_not_built_again(
    builder: Builder, store: Store, programs: Programs, recorder: Recorder
) -> None:
    assert not builder.built(PLUGINS, "amd64")
    builder.binaries(PLUGINS, "amd64")
    before = programs.calls()
    again = Builder(store, recorder)
    assert again.built(PLUGINS, "amd64")
    again.binaries(PLUGINS, "amd64")
    assert programs.calls() == before
    assert not again.built(replace(PLUGINS, tags="other"), "amd64")
    again.binaries(replace(PLUGINS, tags="other"), "amd64")
    assert len(programs.calls("go build")) == 2


def test_a_major_version_is_no_name_of_a_binary(builder: Builder) -> None:
    assert builder.binaries(ETCD, "amd64")["etcd"].read_text() == "binary of etcd.org/server/v3"


def test_staging_modules_are_pointed_at_their_releases(
    builder: Builder, programs: Programs
) -> None:
    builder.binaries(KUBERNETES, "amd64")
    assert programs.main_module().splitlines() == [
        "module ohmykube.build/node",
        "go 1.26.8",
        "godebug default=go1.26",
        "require k8s.org/kubernetes v1.36.3",
        "replace k8s.io/api => k8s.io/api v0.36.3",
    ]


CILIUM = replace(PLUGINS, module="cni.org/cilium", packages={"operator": "cni.org/cilium/operator"})
THEIR_MOD = "their go.mod\n"
FORKED = {
    "Go": "1.25.0",
    "Require": [{"Path": "bgp.org/gobgp", "Version": "v3.0.0"}],
    "Replace": [
        {"Old": {"Path": "bgp.org/gobgp"}, "New": {"Path": "fork.org/gobgp", "Version": "v3.0.1"}}
    ],
}


@pytest.fixture
def publish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Programs
) -> Callable[..., GoRecipe]:
    """Return what has the stand-in fetch a module whose go.mod names a fork."""

    def make(**files: str) -> GoRecipe:
        archive, go_mod = tmp_path / "cilium.zip", tmp_path / "cilium.mod"
        go_mod.write_text(THEIR_MOD)
        content = {"go.mod": THEIR_MOD} | {f"go.{end}": text for end, text in files.items()}
        sum_ = zip_module(archive, CILIUM.module, CILIUM.version, content)
        monkeypatch.setenv("FAKE_ZIP", str(archive))
        monkeypatch.setenv("FAKE_SUM", sum_)
        monkeypatch.setenv("FAKE_GO_MOD", str(go_mod))
        monkeypatch.setenv("FAKE_DESCRIBED", json.dumps(FORKED))
        return replace(CILIUM, sum=sum_)

    return make


def test_a_fork_is_built_with_the_components_own_versions_and_sums(
    builder: Builder, programs: Programs, publish: Callable[..., GoRecipe]
) -> None:
    recipe = publish(sum="fork.org/gobgp v3.0.1 h1:fork=")
    assert builder.binaries(recipe, "amd64")["operator"].read_text().startswith("binary of")
    (build,) = programs.calls("go build")
    assert "-mod=readonly" in build
    assert programs.main_module().splitlines()[-2:] == [
        "require bgp.org/gobgp v3.0.0",
        "replace bgp.org/gobgp => fork.org/gobgp v3.0.1",
    ]
    assert programs.main_module(".sum").splitlines() == [
        "fork.org/gobgp v3.0.1 h1:fork=",
        f"{recipe.module} {recipe.version} {recipe.sum}",
        f"{recipe.module} {recipe.version}/go.mod {h1({'go.mod': THEIR_MOD.encode()})}",
    ]


def test_without_sums_of_its_own_the_checksum_database_is_asked(
    builder: Builder, programs: Programs, publish: Callable[..., GoRecipe]
) -> None:
    builder.binaries(publish(), "amd64")
    (build,) = programs.calls("go build")
    assert "-mod=mod" in build


def test_a_go_mod_that_is_not_the_one_in_the_module_is_refused(
    builder: Builder, programs: Programs, publish: Callable[..., GoRecipe]
) -> None:
    recipe = publish(mod="another go.mod\n")
    with pytest.raises(IntegrityError, match=r"go\.mod of cni\.org/cilium") as caught:
        builder.binaries(recipe, "amd64")
    assert caught.value.id == "OMK-I-205"
    assert programs.calls("go build") == []


def test_a_zip_that_is_not_the_module_is_refused(
    builder: Builder, programs: Programs, publish: Callable[..., GoRecipe], tmp_path: Path
) -> None:
    recipe = publish(sum="fork.org/gobgp v3.0.1 h1:fork=")
    zip_module(tmp_path / "cilium.zip", recipe.module, recipe.version, {"go.mod": "x"})
    with pytest.raises(IntegrityError, match="not the one that was reviewed"):
        builder.binaries(recipe, "amd64")
    assert programs.calls("go build") == []


def test_cgo_names_the_compiler_and_its_libraries(
    builder: Builder, programs: Programs, recorder: Recorder
) -> None:
    builder.binaries(RUNC, "amd64")
    (build,) = programs.calls("go build")
    assert "CGO_ENABLED=1" in build
    assert "-tags seccomp,netgo" in build
    assert "-extldflags -static" in build
    (said,) = recorder.texts("debug")
    assert f"{GO}, gcc (Fake 1-2) 1.2.3, libc.a " in said
    assert "libseccomp.a " in said


def test_a_known_digest_is_compared(builder: Builder, store: Store, recorder: Recorder) -> None:
    good = replace(PLUGINS, expect={GO: {"bridge": BRIDGE, "portmap": PORTMAP}})
    builder.binaries(good, "amd64")
    assert recorder.texts() == []


def test_another_digest_of_the_same_toolchain_is_refused(builder: Builder, store: Store) -> None:
    wrong = replace(PLUGINS, expect={GO: {"bridge": BRIDGE, "portmap": BRIDGE}})
    with pytest.raises(IntegrityError) as caught:
        builder.binaries(wrong, "amd64")
    assert "portmap" in caught.value.message
    assert BRIDGE in (caught.value.why or "")
    assert PORTMAP in (caught.value.why or "")
    assert store.refs() == ()
    assert list((store.root / "build").iterdir()) == []


def test_another_toolchain_is_not_compared_and_that_is_said(
    builder: Builder, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GO", "go1.27.1")
    wrong = replace(PLUGINS, expect={GO: {"bridge": PORTMAP}})
    builder.binaries(wrong, "amd64")
    (said,) = recorder.texts("debug")
    assert "go1.27.1 linux/amd64" in said
    assert "not compared" in said


def test_an_old_go_fetches_the_toolchain_it_needs(
    builder: Builder, programs: Programs, monkeypatch: pytest.MonkeyPatch, recorder: Recorder
) -> None:
    monkeypatch.setenv("FAKE_GO", "go1.24.4")
    builder.binaries(replace(PLUGINS, expect={GO: {"bridge": BRIDGE}}), "amd64")
    (build,) = programs.calls("go build")
    assert "GOTOOLCHAIN=go1.26.8" in build
    assert recorder.texts() == []


def test_a_very_old_go_is_refused(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO", "go1.19.8")
    with pytest.raises(PrerequisiteError) as caught:
        builder.binaries(PLUGINS, "amd64")
    assert "go1.19.8" in (caught.value.why or "")


def test_a_module_with_another_sum_is_refused(
    builder: Builder, store: Store, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SUM", "h1:evil=")
    with pytest.raises(IntegrityError) as caught:
        builder.binaries(PLUGINS, "amd64")
    assert "h1:evil=" in (caught.value.why or "")
    assert programs.calls("go build") == []
    assert store.refs() == ()


def test_without_go_the_debian_packages_are_named(builder: Builder, programs: Programs) -> None:
    programs.remove("go")
    with pytest.raises(PrerequisiteError) as caught:
        builder.binaries(PLUGINS, "amd64")
    assert "golang-go" in (caught.value.why or "")
    assert "doctor" in (caught.value.hint or "")


def test_without_gcc_or_a_library_the_debian_packages_are_named(
    builder: Builder, programs: Programs, tmp_path: Path
) -> None:
    (tmp_path / "libraries" / "libseccomp.a").unlink()
    with pytest.raises(PrerequisiteError) as caught:
        builder.binaries(RUNC, "amd64")
    assert "libseccomp-dev" in (caught.value.why or "")
    programs.remove("gcc")
    for recipe in (RUNC, PAUSE):
        with pytest.raises(PrerequisiteError) as caught:
            builder.binaries(recipe, "amd64")
        assert "gcc" in (caught.value.why or "")
    assert programs.calls("go build") == []


def test_another_architecture_is_refused(builder: Builder, programs: Programs) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        builder.binaries(PLUGINS, "arm64")
    assert "amd64 only" in caught.value.message
    assert programs.calls("mod download") == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Get https://proxy: dial tcp 1.2.3.4:443: connect: connection refused", NetworkError),
        ("reading https://proxy/x.info: 403 Forbidden", NetworkError),
        ("verifying x@v1/go.mod: checksum mismatch", IntegrityError),
        ("write /x: no space left on device", ResourceError),
        ("go: x@v1 requires go >= 1.99 (running go 1.26.8)", PrerequisiteError),
        ("something that nobody has seen before", PrerequisiteError),
    ],
)
def test_a_failed_download_is_explained(
    builder: Builder, monkeypatch: pytest.MonkeyPatch, said: str, expected: type[Exception]
) -> None:
    monkeypatch.setenv("FAKE_ERROR", said)
    with pytest.raises(expected) as caught:
        builder.binaries(PLUGINS, "amd64")
    error = caught.value
    assert isinstance(error, (NetworkError, IntegrityError, ResourceError, PrerequisiteError))
    assert said in (error.why or "")
    assert "{" not in (error.why or "")  # the message, not the JSON around it
    assert error.hint


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("compile: signal: killed", ResourceError),
        ("go: updates to go.mod needed, disabled by -mod=readonly", NetworkError),
        ("main.go:3:8: missing go.sum entry for module providing package x.org/y", NetworkError),
        ("main.go:3:8: no required module provides package x.org/y", NetworkError),
        ("x.go:1:10: fatal error: seccomp.h: No such file or directory", PrerequisiteError),
        ('{"broken json', PrerequisiteError),
        ("{1}", PrerequisiteError),
    ],
)
def test_a_failed_build_is_explained(
    builder: Builder, monkeypatch: pytest.MonkeyPatch, said: str, expected: type[Exception]
) -> None:
    monkeypatch.setenv("FAKE_BUILD_ERROR", said)
    with pytest.raises(expected) as caught:
        builder.binaries(PLUGINS, "amd64")
    assert said in str(getattr(caught.value, "why", ""))


def test_a_c_program_is_compiled_and_kept(
    builder: Builder, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert builder.binaries(PAUSE, "amd64")["pause"].read_text() == "compiled"
    (call,) = programs.calls("-static", "pause.c")
    assert "--build-id=none" in call
    monkeypatch.setenv("FAKE_BUILD_ERROR", "cannot find -lc")
    with pytest.raises(PrerequisiteError):
        builder.binaries(replace(PAUSE, version="3.11"), "amd64")


def test_an_interrupt_ends_the_build(
    builder: Builder,
    programs: Programs,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], bool]], bool],
) -> None:
    monkeypatch.setenv("FAKE_HANG", "cni.org")
    caught: list[BaseException] = []

    def build() -> None:
        try:
            builder.binaries(PLUGINS, "amd64")
        except Interrupted as error:
            caught.append(error)

    thread = Thread(target=build)
    thread.start()
    assert eventually(lambda: bool(programs.calls("go build")))
    interrupt.requested.set()
    thread.join(30)
    assert len(caught) == 1
    assert not alive(programs.calls("go build")[0])
    assert list((store.root / "build").iterdir()) == []


def alive(call: str) -> bool:
    """Tell whether the process of a logged call still runs."""
    try:
        os.kill(int(call.split(maxsplit=1)[0]), 0)
    except ProcessLookupError:
        return False
    return True


RUN = """
import json, sys
from pathlib import Path
from ohmykube.cache.catalog import GoRecipe
from ohmykube.cache.sources.gobuild import Builder
from ohmykube.cache.store import Store
from ohmykube.progress import NullReporter
builder = Builder(Store(Path(sys.argv[1])), NullReporter())
for facts in json.loads(sys.argv[2]):
    builder.binaries(GoRecipe(**facts), "amd64")
"""


def facts(recipe: GoRecipe) -> dict[str, object]:
    names = ("module", "version", "sum", "packages")
    return {name: getattr(recipe, name) for name in names}


def test_a_killed_run_goes_on_with_the_next_module(
    store: Store,
    programs: Programs,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], bool]], bool],
) -> None:
    monkeypatch.setenv("FAKE_HANG", "etcd.org")
    arguments = json.dumps([facts(PLUGINS), facts(ETCD)])
    child = Popen([sys.executable, "-c", RUN, str(store.root), arguments], cwd=os.getcwd())  # noqa: PTH109
    assert eventually(lambda: bool(programs.calls("go build", "etcd.org")))
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    (orphan,) = programs.calls("go build", "etcd.org")
    assert eventually(lambda: not alive(orphan)), "the build outlives the run that was killed"
    assert len(list((store.root / "build").iterdir())) == 1

    monkeypatch.delenv("FAKE_HANG")
    builder = Builder(store, recorder)
    builder.binaries(PLUGINS, "amd64")
    builder.binaries(ETCD, "amd64")
    assert len(programs.calls("go build", "cni.org")) == 1
    assert len(programs.calls("go build", "etcd.org")) == 2
    assert list((store.root / "build").iterdir()) == []


def test_two_runs_build_a_module_once(store: Store, programs: Programs, recorder: Recorder) -> None:
    results: list[dict[str, Path]] = []
    threads = [
        Thread(target=lambda: results.append(Builder(store, recorder).binaries(PLUGINS, "amd64")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 4
    assert len(programs.calls("go build")) == 1


def test_progress_shows_signs_of_life(builder: Builder, recorder: Recorder) -> None:
    builder.binaries(PLUGINS, "amd64")
    activities = [event.activity for event in recorder.events if hasattr(event, "activity")]
    assert activities[:2] == ["waiting for its turn", "building"]
    assert "fetching x.org/y v1.2.3" in activities
    assert len(activities) == 4  # lines that follow within seconds are not passed on


# -- the gate ------------------------------------------------------------------------------------


def test_available_memory_is_read_where_it_is_known(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 99 kB\nMemAvailable:    6291456 kB\n")
    assert available_gib(meminfo) == 6.0
    assert available_gib(tmp_path / "absent") == 4.0
    meminfo.write_text("nothing useful")
    assert available_gib(meminfo) == 4.0


def test_the_gate_keeps_within_memory(
    eventually: Callable[[Callable[[], bool]], bool],
) -> None:
    gate = BuildSlots(memory_gib=4, jobs=8)
    inside: list[str] = []

    def work() -> None:
        with gate.reserve(3):
            inside.append("second")

    thread = Thread(target=work)
    with gate.reserve(3):
        thread.start()
        thread.join(0.2)
        assert inside == []
    thread.join(30)
    assert inside == ["second"]


def test_the_gate_lets_one_in_that_is_too_big_and_counts_jobs() -> None:
    gate = BuildSlots(memory_gib=1, jobs=1)
    with gate.reserve(100):
        interrupt.requested.set()
        with pytest.raises(Interrupted), gate.reserve(0.1):
            pytest.fail("two at once")
