"""Files and charts out of Go modules, with a stand-in for the go client."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, replace
from subprocess import Popen
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import chart
from ohmykube.cache.catalog import ModuleFile
from ohmykube.cache.sources import module_files
from ohmykube.cache.sources.base import Source, SourceContext
from ohmykube.cache.sources.build import BuildSource
from ohmykube.cache.sources.mirror import MirrorSource
from ohmykube.cache.store import Store
from ohmykube.errors import (
    IntegrityError,
    NetworkError,
    OhmykubeError,
    PrerequisiteError,
    ResourceError,
)
from ohmykube.kit import digest, paths
from ohmykube.model.cluster import Sources
from ohmykube.progress import NullReporter
from tests.module_proxy import zip_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Programs, Recorder

MODULE, VERSION = "example.org/Lb", "v0.15.2"
MANIFEST = "kind: Namespace\n"
CHART = {"Chart.yaml": "name: lb\n", "templates/a.yaml": "a: 1\n"}
FILES = {"go.mod": "module example.org/Lb\n", "config/native.yaml": MANIFEST}
FILES |= {f"charts/lb/{name}": text for name, text in CHART.items()}
ARCHIVE = chart.archive("lb", {name: text.encode() for name, text in CHART.items()})


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Programs) -> ModuleFile:
    """Have the stand-in fetch a module, and return a file in it."""
    archive = tmp_path / "module.zip"
    sum_ = zip_module(archive, MODULE, VERSION, FILES)
    monkeypatch.setenv("FAKE_ZIP", str(archive))
    monkeypatch.setenv("FAKE_SUM", sum_)
    return ModuleFile(
        module=MODULE,
        version=VERSION,
        sum=sum_,
        path="config/native.yaml",
        digest=digest.of_bytes(MANIFEST.encode()),
    )


@pytest.fixture
def packed(manifest: ModuleFile) -> ModuleFile:
    return replace(manifest, path="charts/lb", digest=digest.of_bytes(ARCHIVE))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def test_a_file_is_taken_as_it_is_and_a_chart_is_packed(
    manifest: ModuleFile, packed: ModuleFile, store: Store, recorder: Recorder, programs: Programs
) -> None:
    assert module_files.take(manifest, store, recorder).read_text() == MANIFEST
    assert module_files.take(packed, store, recorder).read_bytes() == ARCHIVE
    downloads = programs.calls(f"mod download -json {MODULE}@{VERSION}")
    assert ["GOTOOLCHAIN=auto" in call for call in downloads] == [True, True]
    names = [event.item for event in recorder.events if hasattr(event, "item")]
    assert "charts/lb of example.org/Lb@v0.15.2" in names


def test_what_the_cache_has_needs_no_go(
    manifest: ModuleFile, store: Store, recorder: Recorder, programs: Programs
) -> None:
    module_files.take(manifest, store, recorder)
    programs.remove("go")
    assert module_files.take(manifest, store, recorder).read_text() == MANIFEST
    with pytest.raises(PrerequisiteError, match="`go` is not installed"):
        module_files.take(replace(manifest, digest=digest.of_bytes(b"")), store, recorder)


def test_a_module_with_another_sum_is_refused(
    manifest: ModuleFile, store: Store, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(manifest, sum="h1:AAAA=")
    with pytest.raises(IntegrityError, match="not the one that was reviewed") as caught:
        module_files.take(wrong, store, recorder)
    assert caught.value.id == "OMK-I-205"
    # The go client says what is expected; the zip in its cache says something else.
    monkeypatch.setenv("FAKE_SUM", "h1:AAAA=")
    with pytest.raises(IntegrityError, match="not the one that was reviewed"):
        module_files.take(wrong, store, recorder)
    assert store.digests() == ()


def test_another_digest_is_refused_and_not_kept(
    packed: ModuleFile, store: Store, recorder: Recorder
) -> None:
    wrong = "sha256:" + "0" * 64
    with pytest.raises(IntegrityError, match="not what was reviewed") as caught:
        module_files.take(replace(packed, digest=wrong), store, recorder)
    assert caught.value.id == "OMK-I-203"
    assert caught.value.why == f"expected {wrong}\nfound    {packed.digest}"
    assert store.digests() == ()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("charts/Lb", "in its directory charts are: lb"),
        ("config", "in its directory config are: native.yaml"),  # a directory, but no chart
        ("config/native.yml", "in its directory config are: native.yaml"),
        ("deploy/all.yaml", "in its directory . are: charts, config, go.mod"),
    ],
)
def test_a_path_that_is_not_there_is_told_with_what_is(
    manifest: ModuleFile, store: Store, recorder: Recorder, path: str, why: str
) -> None:
    with pytest.raises(IntegrityError) as caught:
        module_files.take(replace(manifest, path=path), store, recorder)
    error = caught.value
    assert error.id == "OMK-I-300"
    assert path in error.message
    assert error.why == why
    assert error.hint == "correct the path in the catalog"


def test_of_many_names_some_are_told(
    tmp_path: Path, manifest: ModuleFile, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"file{number:02}": "" for number in range(30)}
    sum_ = zip_module(tmp_path / "module.zip", MODULE, VERSION, files)
    monkeypatch.setenv("FAKE_SUM", sum_)
    with pytest.raises(IntegrityError) as caught:
        module_files.take(replace(manifest, sum=sum_), store, NullReporter())
    assert (caught.value.why or "").endswith("file18, file19, ...")


@pytest.mark.parametrize(
    ("said", "expected"),
    [("dial tcp: connection refused", NetworkError), ("no space left on device", ResourceError)],
)
def test_a_failed_download_is_explained(
    manifest: ModuleFile,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    expected: type[OhmykubeError],
) -> None:
    monkeypatch.setenv("FAKE_ERROR", said)
    with pytest.raises(expected) as caught:
        module_files.take(manifest, store, NullReporter())
    assert caught.value.why == said


def test_several_runs_fetch_a_file_once(
    packed: ModuleFile, store: Store, recorder: Recorder, programs: Programs
) -> None:
    found: list[bytes] = []

    def take() -> None:
        found.append(module_files.take(packed, Store(store.root), recorder).read_bytes())

    threads = [Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [ARCHIVE] * 4
    assert len(programs.calls("mod download")) == 1


RUN = """
import json, sys
from pathlib import Path
from ohmykube.cache.catalog import ModuleFile
from ohmykube.cache.sources import module_files
from ohmykube.cache.store import Store
from ohmykube.progress import NullReporter
module_files.take(ModuleFile(**json.loads(sys.argv[2])), Store(Path(sys.argv[1])), NullReporter())
"""


def test_a_killed_run_leaves_nothing_in_the_way(
    packed: ModuleFile,
    store: Store,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], bool]], bool],
) -> None:
    monkeypatch.setenv("FAKE_STUCK", MODULE)
    arguments = [str(store.root), json.dumps(asdict(packed))]
    child = Popen([sys.executable, "-c", RUN, *arguments], cwd=os.getcwd())  # noqa: PTH109
    assert eventually(lambda: bool(programs.calls("mod download")))
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    monkeypatch.delenv("FAKE_STUCK")
    assert module_files.take(packed, store, NullReporter()).read_bytes() == ARCHIVE


# -- sources -------------------------------------------------------------------------------------


def context(store: Store, recorder: Recorder, mirror: str | None = None) -> SourceContext:
    return SourceContext(
        store=store,
        sources=Sources(mirror=mirror),
        reporter=recorder,
        paths=paths.from_environment(),
    )


def test_the_source_build_takes_files_out_of_modules(
    packed: ModuleFile, store: Store, recorder: Recorder
) -> None:
    source = BuildSource(context(store, recorder))
    assert source.module_file(packed).read_bytes() == ARCHIVE


def test_a_mirror_has_them_below_the_place_of_the_module(
    packed: ModuleFile, store: Store, recorder: Recorder, tmp_path: Path
) -> None:
    source = MirrorSource(context(store, recorder, mirror=str(tmp_path / "mirror")))
    place = tmp_path / "mirror/proxy.golang.org/example.org/!lb/@v/v0.15.2/charts/lb"
    with pytest.raises(NetworkError, match=str(place)):
        source.module_file(packed)
    place.parent.mkdir(parents=True)
    place.write_bytes(ARCHIVE[:-1])
    with pytest.raises(IntegrityError):
        source.module_file(packed)
    place.write_bytes(ARCHIVE)
    assert source.module_file(packed).read_bytes() == ARCHIVE


class Other(BuildSource):
    """A source of somebody who has not heard of modules."""

    name = "other"
    module_file = Source.module_file


def test_other_sources_have_none(packed: ModuleFile, store: Store, recorder: Recorder) -> None:
    with pytest.raises(NetworkError) as caught:
        Other(context(store, recorder)).module_file(packed)
    assert caught.value.message == f"source other does not have {packed.name}"
    assert "`build`" in (caught.value.hint or "")
