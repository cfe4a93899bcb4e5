"""Looking through the whole cache: damage is found, named and set aside, the rest made anew."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import fsck, prune
from ohmykube.cache.store import Ref, Store
from ohmykube.errors import Interrupted
from ohmykube.kit import digest as digests
from ohmykube.kit import interrupt
from ohmykube.model.artifact import Kind
from ohmykube.progress import ItemProgress, NullReporter, Status
from tests import image_maker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.cache.conftest import Recorder

QUIET = NullReporter()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def image(store: Store) -> image_maker.Image:
    image = image_maker.image(5000, 3000)
    image.put(store)
    store.set_ref(Ref(Kind.IMAGE, "reg/app:1", "1", "amd64", image.digest, 1, "load"))
    return image


def refer(store: Store, data: bytes, name: str = "runc") -> str:
    digest = store.put_bytes(data)
    store.set_ref(Ref(Kind.BINARY, name, "1", "amd64", digest, len(data), "build"))
    return digest


def flip(path: Path) -> None:
    """Turn one bit, as a failing disk does: nothing else about the file changes."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.seek(status.st_size // 2)
        byte = stream.read(1)[0]
        stream.seek(status.st_size // 2)
        stream.write(bytes([byte ^ 0x10]))
    path.chmod(0o444)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("jobs", [1, 4])
def test_whole_blobs_stay(store: Store, image: image_maker.Image, jobs: int) -> None:
    refer(store, b"runc")
    done = fsck.verify(store, QUIET, jobs=jobs)
    assert (done.blobs, done.damaged, done.jobs) == (len(store.digests()), (), jobs)
    assert done.size == sum(store.locate(d).size for d in store.digests())


def test_a_flipped_bit_is_found_and_all_who_need_it_are_named(
    store: Store, image: image_maker.Image
) -> None:
    layer = image.layers[0]
    store.set_ref(Ref(Kind.FILE, "copy", "1", "noarch", layer, 1, "x"))
    flip(store.path(layer))
    assert store.trusted(layer).size  # nothing to be seen from outside
    (damaged,) = fsck.verify(store, QUIET, jobs=2).damaged
    assert damaged.digest == layer
    assert [ref.name for ref in damaged.refs] == ["copy", "reg/app:1"]
    assert "quarantine" in damaged.why
    assert not store.has(layer)
    assert len(list(store.quarantine.iterdir())) == 1
    assert fsck.verify(store, QUIET, jobs=2).damaged == ()


def test_a_damaged_manifest_is_named_with_its_image(store: Store, image: image_maker.Image) -> None:
    flip(store.path(image.digest))
    assert [one.digest for one in fsck.verify(store, QUIET, jobs=1).damaged] == [image.digest]


def test_only_what_was_asked_for_is_hashed(store: Store, image: image_maker.Image) -> None:
    runc = refer(store, b"runc")
    flip(store.path(image.layers[0]))
    gone = digests.of_bytes(b"gone")
    done = fsck.verify(store, QUIET, jobs=1, only=[runc, gone])
    assert (done.blobs, done.size, done.damaged) == (1, 4, ())


def test_attached_blobs_are_hashed_too(store: Store, tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    bundle.write_bytes(b"0123456789")
    good, bad = digests.of_bytes(b"01"), digests.of_bytes(b"xx")
    store.attach(bundle, {good: (0, 2), bad: (2, 2)})
    done = fsck.verify(store, QUIET, jobs=1)
    assert (done.blobs, [one.digest for one in done.damaged]) == (2, [bad])
    os.utime(bundle, (1, 1))
    assert fsck.verify(store, QUIET, jobs=1).blobs == 0


def test_progress_counts_every_byte(store: Store, recorder: Recorder) -> None:
    refer(store, b"runc" * 1_000_000)
    done = fsck.verify(store, recorder, jobs=1)
    events = [event for event in recorder.events if isinstance(event, ItemProgress)]
    assert (events[0].done, events[0].total, events[0].unit) == (0, done.size, "bytes")
    assert (events[-1].done, events[-1].status) == (done.size, Status.OK)


@pytest.fixture
def interrupted() -> Iterator[None]:
    interrupt.requested.set()
    yield
    interrupt.requested.clear()


def test_it_stops_when_asked_to(store: Store, recorder: Recorder, interrupted: None) -> None:
    refer(store, b"runc")
    with pytest.raises(Interrupted):
        fsck.verify(store, recorder, jobs=1)
    last = recorder.events[-1]
    assert isinstance(last, ItemProgress)
    assert last.status is Status.FAILED


def test_a_blob_that_is_pruned_meanwhile_is_no_damage(store: Store) -> None:
    digest = refer(store, b"runc")

    class Vanishing(Store):
        def verify(self, digest: str, tell: object = None) -> int:
            self.discard(digest)
            return super().verify(digest)

    done = fsck.verify(Vanishing(store.root), QUIET, jobs=1)
    assert (done.blobs, done.damaged) == (1, ())
    assert not store.has(digest)


class Pruned(Store):
    """Another process prunes right after each listing."""

    def digests(self) -> tuple[str, ...]:
        found = super().digests()
        for digest in found:
            self.discard(digest)
        return found


def test_blobs_pruned_after_they_were_listed_are_passed_over(store: Store) -> None:
    refer(store, b"runc")
    done = fsck.verify(Pruned(store.root), QUIET, jobs=1)
    assert (done.blobs, done.size, done.damaged) == (0, 0, ())


def test_pruning_beside_another_prune(store: Store) -> None:
    refer(store, b"runc")
    assert prune.prune(Pruned(store.root), prune.Policy(everything=True)).freed == 0
    assert prune.prune(Pruned(store.root), dry_run=True).freed == 0


def test_present_tells_what_is_there(store: Store) -> None:
    here = store.put_bytes(b"here")
    gone = digests.of_bytes(b"gone")
    assert {digest: blob.size for digest, blob in store.present([here, gone]).items()} == {here: 4}


def findings(store: Store) -> dict[str, str]:
    return {one.subject: one.detail for one in fsck.check(store)}


def test_a_whole_cache_has_no_findings(store: Store, image: image_maker.Image) -> None:
    assert findings(Store(store.root / "nothing")) == {}
    refer(store, b"runc")
    assert findings(store) == {}


def test_everything_that_does_not_agree_is_told(
    store: Store, image: image_maker.Image, tmp_path: Path
) -> None:
    gone, short = refer(store, b"gone", "gone"), refer(store, b"short", "short")
    store.discard(gone)
    path = store.path(short)
    path.chmod(0o644)
    path.write_bytes(b"sho")
    store.discard(image.layers[1])
    (store.layout / "blobs/sha256/stranger").write_text("?")
    bundles = [tmp_path / "changed", tmp_path / "lost", tmp_path / "as it was"]
    for bundle in bundles:
        bundle.write_bytes(b"1")
        store.attach(bundle, {})
    bundles[0].write_bytes(b"2222")
    bundles[1].unlink()
    (store.layout / "index.json").unlink()
    found = findings(store)
    assert found.pop("binary gone 1 amd64").startswith("its blob sha256:")
    assert found.pop("binary short 1 amd64") == "its blob has 3 bytes instead of 5"
    assert found.pop("image reg/app:1 1 amd64") == "1 of 4 blobs missing"
    assert found.pop("oci/blobs/sha256/stranger") == "it is no blob, and nothing of ours"
    assert "changed since" in found.pop(str(bundles[0]))
    assert "is gone" in found.pop(str(bundles[1]))
    assert "no image here" in found.pop("oci/index.json")
    assert found == {}


def test_a_lost_list_and_a_newer_index_are_told(store: Store) -> None:
    refer(store, b"runc")
    with sqlite3.connect(store.root / "index.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    (store.root / "refs.json").write_text("{")
    found = findings(Store(store.root))
    assert found["refs.json"] == "it cannot be read, so 1 blob cannot be named"
    assert "newer ohmykube" in found["index.db"]
    (store.root / "refs.json").unlink()
    assert findings(store)["refs.json"].startswith("it is missing")


def test_rebuilding_makes_all_that_the_blobs_can_tell(
    store: Store, image: image_maker.Image
) -> None:
    runc, gone = refer(store, b"runc"), refer(store, b"gone", "gone")
    store.discard(gone)
    (store.root / "index.db").write_bytes(b"nonsense" * 1000)
    (store.layout / "index.json").unlink()
    again = Store(store.root)
    done = fsck.rebuild(again, QUIET, jobs=2)
    assert (done.refs_found, done.refs_dropped, done.verified.damaged) == (0, 1, ())
    assert findings(again) == {}
    assert again.trusted(runc).size == 4
    assert [ref.name for ref in again.refs()] == ["runc", "reg/app:1"]
    flip(again.path(runc))
    done = fsck.rebuild(again, QUIET, jobs=2)
    assert (len(done.verified.damaged), done.refs_dropped) == (1, 1)
    assert [ref.name for ref in again.refs()] == ["reg/app:1"]


def test_blobs_of_a_run_that_was_stopped_before_its_first_reference_are_no_damage(
    store: Store,
) -> None:
    store.put_bytes(b"stopped")
    assert findings(store) == {}


def test_an_index_that_was_never_made_is_no_damage(store: Store) -> None:
    refer(store, b"runc")
    store._index._close()
    (store.root / "index.db").unlink()
    again = Store(store.root)
    again._index._why = "nothing can be written here"
    assert findings(again) == {}
