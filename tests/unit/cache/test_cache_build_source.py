"""The source ``build``: availability, components, images with their layer of Debian tools."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zstandard

from ohmykube.addons import selection
from ohmykube.cache import catalog, oci, releases
from ohmykube.cache.catalog import DebianLayer, GoRecipe, ImageSpec, ModuleTree
from ohmykube.cache.sources import base, debian_layer
from ohmykube.cache.sources.base import SourceContext
from ohmykube.cache.sources.build import BuildSource
from ohmykube.cache.store import Store
from ohmykube.errors import IntegrityError, NetworkError, NotFoundError, PrerequisiteError
from ohmykube.kit import paths
from ohmykube.model.cluster import Sources
from tests.module_proxy import zip_module

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Programs, Recorder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def context(store: Store, recorder: Recorder) -> SourceContext:
    return SourceContext(
        store=store, sources=Sources(), reporter=recorder, paths=paths.from_environment()
    )


@pytest.fixture
def source(context: SourceContext, programs: Programs) -> BuildSource:
    return BuildSource(context)


RELEASE = releases.release("1.36.3").with_sets(selection.known_sets())


def fake(spec: ImageSpec, **changes: object) -> ImageSpec:
    """Give an image a recipe that the stand-ins can build."""
    recipe = spec.recipe
    assert recipe is not None
    if hasattr(recipe, "packages"):
        packages = {spec.binary: f"fake.org/{spec.binary}"}
        recipe = replace(recipe, sum="h1:good=", packages=packages, expect={})
    return replace(spec, recipe=replace(recipe, expect={}), **changes)


def image(name: str) -> ImageSpec:
    return fake(RELEASE.image(name))


def names_of(store: Store, layer: oci.StoredBlob) -> dict[str, tarfile.TarInfo]:
    with store.path(layer.digest).open("rb") as stream:
        raw = zstandard.ZstdDecompressor().stream_reader(stream).read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        return {member.name: member for member in archive}


def test_it_is_found_by_its_name(context: SourceContext) -> None:
    assert "build" in base.names()
    assert isinstance(base.load("build", context), BuildSource)
    with pytest.raises(NotFoundError):
        base.load("no-such-source", context)


def test_a_plugin_that_is_no_source_is_refused(
    context: SourceContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohmykube.kit.entrypoints.load", lambda _group, _name, _what: Store)
    with pytest.raises(PrerequisiteError, match="not a Source"):
        base.load("build", context)


def test_it_is_available_when_the_proxy_answers(
    source: BuildSource, programs: Programs, recorder: Recorder
) -> None:
    source.available()
    assert len(programs.calls("go list")) == 1
    assert recorder.texts() == []


def test_a_proxy_that_refuses_is_a_network_error(
    source: BuildSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ERROR", "dial tcp 127.0.0.1:1: connect: connection refused")
    with pytest.raises(NetworkError) as caught:
        source.available()
    assert "connection refused" in (caught.value.why or "")


def test_a_proxy_that_does_not_answer_is_given_up_soon(
    source: BuildSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_STALL", "1")
    monkeypatch.setattr("ohmykube.cache.sources.build.PROBE_SECONDS", 0.5)
    with pytest.raises(NetworkError) as caught:
        source.available()
    assert "time limit" in (caught.value.why or "")


def test_without_go_it_is_not_available(source: BuildSource, programs: Programs) -> None:
    programs.remove("go")
    with pytest.raises(PrerequisiteError):
        source.available()


def test_all_that_lacks_is_said_before_anything_is_built(
    source: BuildSource, programs: Programs, tmp_path: Path
) -> None:
    programs.remove("mmdebstrap")
    (tmp_path / "libraries" / "libseccomp.a").unlink()
    with pytest.raises(PrerequisiteError) as caught:
        source.available()
    assert "libseccomp-dev mmdebstrap" in (caught.value.why or "")
    assert caught.value.hint == "ohmykube doctor --fix"


def test_a_checksum_database_that_is_off_is_told_of_once(
    source: BuildSource, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOSUMDB", "off")
    from ohmykube.cache.sources import toolchain

    toolchain._go_facts.cache_clear()
    source.available()
    source.available()
    (said,) = recorder.texts("warning")
    assert "GOSUMDB is off" in said


def test_a_component_gives_all_its_binaries(source: BuildSource) -> None:
    component = next(c for c in releases.release("1.36.3").components if c.name == "runc")
    assert component.recipe is not None
    recipe = replace(
        component.recipe, sum="h1:good=", packages={"runc": "fake.org/runc"}, expect={}
    )
    files = source.component(replace(component, recipe=recipe), "amd64")
    assert {name: path.read_text() for name, path in files.items()} == {
        "runc": "binary of fake.org/runc"
    }


def test_what_has_no_recipe_cannot_be_built(source: BuildSource) -> None:
    release = releases.release("1.36.9")
    with pytest.raises(NetworkError, match=r"kubectl|kubelet 1.36.9"):
        source.component(release.components[-1], "amd64")
    with pytest.raises(NetworkError, match=r"kube-apiserver v1.36.9"):
        source.image(release.image("kube-apiserver"), "amd64")


def test_an_image_is_one_program(source: BuildSource, store: Store) -> None:
    spec = image("coredns")
    manifest, config, program = oci.image_blobs(store, source.image(spec, "amd64"))
    assert oci.is_complete(store, manifest.digest)
    document = json.loads(store.path(config.digest).read_bytes())
    assert document["config"]["Entrypoint"] == ["/coredns"]
    assert document["config"]["Labels"]["org.opencontainers.image.version"] == "v1.14.2"
    assert names_of(store, program)["coredns"].mode == 0o755
    assert source.reference(spec) == spec.ref


def test_an_image_of_several_programs_files_and_links(
    source: BuildSource, store: Store, programs: Programs, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("FAKE_ZIP", str(tmp_path / "module.zip"))
    content = {
        "bpf/a.c": "int a;\n",
        "bpf/lib/b.h": "\n",
        "bpf/tests/c.c": "",
        "run.sh": "#!/bin/sh\n",
    }
    sum_ = zip_module(tmp_path / "module.zip", "fake.org/agent", "v1", content)
    built = {"packages": {"agent": "fake.org/agent", "tool": "fake.org/tool"}, "sum": sum_}
    monkeypatch.setenv("FAKE_SUM", sum_)
    recipe = GoRecipe(module="fake.org/agent", version="v1", **built)  # type: ignore[arg-type]
    other = replace(recipe, module="fake.org/other", packages={"other": "fake.org/other"})
    spec = ImageSpec(
        name="agent",
        version="1",
        ref="fake.org/agent:1",
        node_roles=(),
        binary="agent",
        entrypoint="/agent",
        arguments=("--now",),
        environment={"SOCKET": "/run/a"},
        recipe=recipe,
        more_recipes=(other,),
        programs={"tool": "/usr/bin/tool", "other": "/cni/other"},
        links={"/usr/bin/also": "tool"},
        files=ModuleTree(
            module="fake.org/agent",
            version="v1",
            sum=sum_,
            places={"/var/lib/bpf": "bpf", "/run.sh": "run.sh"},
            programs=("/run.sh",),
            without=("tests",),
        ),
    )
    assert source.estimate([spec], "amd64") == 120
    manifest = source.image(spec, "amd64")
    _, config, layer = oci.image_blobs(store, manifest)
    described = json.loads(store.path(config.digest).read_bytes())["config"]
    assert described["Entrypoint"] == ["/agent", "--now"]
    assert described["Env"] == [f"PATH={oci.SEARCH_PATH}", "SOCKET=/run/a"]
    members = names_of(store, layer)
    files = {name: oct(one.mode) for name, one in members.items() if one.isfile()}
    assert files == {
        **dict.fromkeys(("agent", "cni/other", "run.sh", "usr/bin/tool"), "0o755"),
        **dict.fromkeys(("var/lib/bpf/a.c", "var/lib/bpf/lib/b.h"), "0o644"),
    }
    assert members["usr/bin/also"].linkname == "tool"
    assert source.image(spec, "amd64") == manifest
    gone = replace(spec, files=replace(spec.files, places={"/x": "nowhere"}))
    with pytest.raises(IntegrityError, match="nowhere in the module") as caught:
        source.image(gone, "amd64")
    assert caught.value.why == "in its directory . are: bpf, run.sh"


def test_layers_of_one_suite_are_kept_side_by_side(
    source: BuildSource, store: Store, recorder: Recorder, programs: Programs
) -> None:
    tools = DebianLayer(suite="bookworm", packages=("kmod",))
    other = replace(tools, name="other", packages=("nftables",))
    assert catalog.key(tools, built=True) == catalog.key(replace(tools, name="x"), built=True)
    for layer in (tools, other, tools, other):
        debian_layer.make(layer, "amd64", store, recorder)
    assert len(programs.calls("mmdebstrap")) == 2


def test_what_is_no_program_and_no_library_is_kept_by_name() -> None:
    path = "usr/lib/llvm-19/bin/clang"
    assert debian_layer.place(f"./{path}") is None
    assert debian_layer.place(f"./{path}", (path,)) == path


def test_pause_is_compiled_from_c(source: BuildSource, store: Store, programs: Programs) -> None:
    _, _, program = oci.image_blobs(store, source.image(image("pause"), "amd64"))
    assert set(names_of(store, program)) == {"pause"}
    assert programs.calls("go build") == []


def test_tools_lie_below_the_program_and_are_made_once(
    source: BuildSource, store: Store, programs: Programs
) -> None:
    proxy = oci.image_blobs(store, source.image(image("kube-proxy"), "amd64"))
    flannel = oci.image_blobs(store, source.image(image("flannel"), "amd64"))
    assert proxy[2] == flannel[2]
    (call,) = programs.calls("mmdebstrap")
    assert "--variant=extract" in call
    assert "--architectures=amd64" in call
    assert "iptables" in call
    assert call.endswith("bookworm")
    members = names_of(store, proxy[2])
    assert "usr/lib/x86_64-linux-gnu/libc.so.6" in members
    assert members["usr/bin/busybox"].mode == 0o755
    assert members["usr/sbin/iptables-restore"].linkname == "/usr/sbin/xtables-nft-multi"
    assert members["usr/bin/cp"].linkname == "/usr/bin/busybox"
    assert members["lib"].linkname == "usr/lib"
    assert members["lib64"].linkname == "usr/lib64"
    assert members["tmp"].mode == 0o1777
    assert "etc/protocols" in members
    for unwanted in ("gconv", "doc", "shadow", "cache", "null"):
        assert not [name for name in members if unwanted in name]
    assert debian_layer.made(image("flannel").base, "amd64", store)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("W: Failed to fetch http://x/ Temporary failure resolving 'x'", NetworkError),
        ("E: /etc/subuid doesn't exist", PrerequisiteError),
    ],
)
def test_a_failed_mmdebstrap_is_explained(
    source: BuildSource,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    expected: type[Exception],
) -> None:
    monkeypatch.setenv("FAKE_DEBIAN_ERROR", said)
    with pytest.raises(expected) as caught:
        source.image(image("kube-proxy"), "amd64")
    assert said in str(getattr(caught.value, "why", ""))
    assert list(store.ingest.iterdir()) == []


def test_without_mmdebstrap_the_debian_packages_are_named(
    source: BuildSource, programs: Programs
) -> None:
    programs.remove("mmdebstrap")
    with pytest.raises(PrerequisiteError) as caught:
        source.image(image("kube-proxy"), "amd64")
    assert "mmdebstrap" in (caught.value.why or "")
    (requirement,) = [r for r in source.requirements() if r.id == "mmdebstrap"]
    assert not requirement.met
    assert "mmdebstrap" in requirement.packages


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./bin/kmod", "usr/bin/kmod"),
        ("./usr/sbin/nft", "usr/sbin/nft"),
        ("./lib/aarch64-linux-gnu/libc.so.6", "usr/lib/aarch64-linux-gnu/libc.so.6"),
        ("./lib/ld-linux-aarch64.so.1", "usr/lib/ld-linux-aarch64.so.1"),
        ("./lib/systemd/system/nftables.service", None),
        ("./usr/lib/x86_64-linux-gnu/libmvec.so.1", None),
        ("./usr/share/man/man8/nft.8.gz", None),
        ("./etc/passwd", None),
        ("../../etc/protocols", None),
        ("./", None),
    ],
)
def test_the_place_of_a_member(name: str, expected: str | None) -> None:
    assert debian_layer.place(name) == expected


def test_an_image_of_another_version_says_so(source: BuildSource) -> None:
    assert source.reference(image("flannel-cni-plugin")).endswith(":v0.9.1")


def test_the_estimate_counts_each_module_once_and_nothing_that_is_there(
    source: BuildSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    release = RELEASE
    everything = source.estimate([*release.components, *release.images], "amd64")
    assert 1000 < everything < 1300
    coredns = image("coredns")
    assert source.estimate([coredns, coredns], "amd64") == 190
    source.image(coredns, "amd64")
    assert source.estimate([coredns], "amd64") == 0
    assert source.estimate(releases.release("1.36.9").components[-3:], "amd64") == 0
