"""Blobs by where their bytes are: in the pool, or inside a bundle that is read in place."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.blobs import Blob
from ohmykube.cache.store import AttachedBundle, Ref, Store
from ohmykube.errors import IntegrityError, NotFoundError
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from pathlib import Path

HELLO = b"hello, world"
DIGEST = digests.of_bytes(HELLO)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def bundle(tmp_path: Path, store: Store) -> Path:
    path = tmp_path / "a.omk.tar"
    path.write_bytes(b"head" + HELLO + b"tail")
    store.attach(path, {DIGEST: (4, len(HELLO))})
    return path


def test_a_blob_of_the_pool_is_a_file_of_its_own(store: Store) -> None:
    store.put_bytes(HELLO)
    blob = store.locate(DIGEST)
    assert (blob.digest, blob.offset, blob.size) == (DIGEST, 0, len(HELLO))
    with blob.open() as stream:
        assert stream.read() == HELLO
    assert blob.hash() == DIGEST


def test_a_blob_inside_a_bundle_is_read_within_its_bounds(store: Store, bundle: Path) -> None:
    assert store.has(DIGEST)
    assert store.digests() == ()
    blob = store.locate(DIGEST)
    assert (blob.path, blob.offset, blob.size) == (bundle, 4, len(HELLO))
    with blob.open() as stream:
        assert stream.seekable()
        assert stream.read(5) == b"hello"
        assert stream.read() == b", world"
        assert stream.read() == b""
        assert stream.seek(-5, io.SEEK_END) == len(HELLO) - 5
        assert stream.read() == b"world"
        stream.seek(2)
        assert stream.seek(2, io.SEEK_CUR) == 4
        assert stream.read(1) == b"o"
        with pytest.raises(ValueError, match="negative"):
            stream.seek(-1)
        stream.seek(10_000)
        assert stream.read() == b""
    told: list[int] = []
    assert blob.hash_disk(told.append) == blob.hash() == DIGEST
    assert sum(told) == len(HELLO)


def test_a_store_whose_first_write_is_a_bundle_is_a_whole_cache(store: Store, bundle: Path) -> None:
    """Backup programs pass it over, and other programs read it as an OCI layout."""
    assert (store.root / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f")
    assert json.loads((store.layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


def test_the_bundle_is_there_in_the_next_run_until_it_is_detached(
    store: Store, bundle: Path
) -> None:
    again = Store(store.root)
    size = bundle.stat().st_size
    assert again.attached() == (
        AttachedBundle(bundle, size, bundle.stat().st_mtime_ns, {DIGEST: (4, len(HELLO))}),
    )
    again.detach(bundle)
    again.detach(bundle)
    assert not store.has(DIGEST)
    assert bundle.exists()


@pytest.mark.parametrize("change", ["touch", "grow", "remove"])
def test_a_bundle_that_changed_is_ignored(store: Store, bundle: Path, change: str) -> None:
    if change == "remove":
        bundle.unlink()
    elif change == "touch":
        os.utime(bundle, (1, 1))
    else:
        bundle.write_bytes(bundle.read_bytes() + b"more")
    assert not store.has(DIGEST)
    assert [one.intact for one in store.attached()] == [False]
    with pytest.raises(NotFoundError):
        store.locate(DIGEST)


def test_attaching_again_replaces_what_was_known(store: Store, bundle: Path) -> None:
    bundle.write_bytes(b"0123456789")
    digit = digests.of_bytes(b"34")
    store.attach(bundle, {digit: (3, 2)})
    assert store.path(digit).read_bytes() == b"34"
    assert not store.has(DIGEST)


@pytest.mark.parametrize("place", [(0, 21), (-1, 2), (3, -1), (21, 1)])
def test_a_blob_outside_the_file_is_refused(
    store: Store, bundle: Path, place: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="does not lie within"):
        store.attach(bundle, {DIGEST: place})


def test_a_bundle_that_is_not_there_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        store.attach(tmp_path / "gone", {})
    assert caught.value.id == "OMK-I-301"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "blobs": 1}'])
def test_a_torn_note_counts_as_nothing_attached(store: Store, bundle: Path, text: str) -> None:
    (note,) = (store.root / "attached").iterdir()
    note.write_text(text)
    assert store.attached() == ()
    assert bundle.exists()


def test_path_copies_out_of_a_bundle_and_says_when_it_lies(store: Store, bundle: Path) -> None:
    assert store.path(DIGEST).read_bytes() == HELLO
    assert store.digests() == (DIGEST,)
    wrong = digests.of_bytes(b"something else")
    store.attach(bundle, {wrong: (4, 3)})
    with pytest.raises(IntegrityError):
        store.path(wrong)


def test_a_damaged_blob_of_a_bundle_is_ignored_and_the_file_stays(
    store: Store, tmp_path: Path
) -> None:
    bundle = tmp_path / "b.omk.tar"
    bundle.write_bytes(b"good" + b"hellO, world")
    good = digests.of_bytes(b"good")
    other = tmp_path / "c.omk.tar"
    other.write_bytes(b"x")
    store.attach(other, {})
    store.attach(bundle, {good: (0, 4), DIGEST: (4, len(HELLO))})
    store.set_ref(Ref(Kind.FILE, "greeting", "1", "noarch", DIGEST, len(HELLO), "bundle"))
    with pytest.raises(IntegrityError, match="file greeting 1 is damaged in") as caught:
        store.trusted(DIGEST)
    assert caught.value.id == "OMK-I-302"
    assert f"ohmykube bundle verify {bundle}" in (caught.value.hint or "")
    assert bundle.exists()
    assert not store.has(DIGEST)
    assert store.trusted(good).offset == 0


def test_trusted_hashes_what_it_does_not_know_and_nothing_else(store: Store, bundle: Path) -> None:
    assert store.trusted(DIGEST).path == bundle
    inode = bundle.stat()
    data = bytearray(bundle.read_bytes())
    data[5] ^= 1
    with bundle.open("r+b") as stream:
        stream.write(data)
    os.utime(bundle, ns=(inode.st_atime_ns, inode.st_mtime_ns))
    # Same size, inode and time: by its record it is still trusted, in this run and the next one.
    assert store.trusted(DIGEST).path == bundle
    assert Store(store.root).trusted(DIGEST).path == bundle
    with pytest.raises(IntegrityError):
        store.verify(DIGEST)


def test_a_rotten_blob_is_set_aside_when_its_file_tells_it(store: Store) -> None:
    store.put_bytes(HELLO)
    path = store.path(DIGEST)
    path.chmod(0o644)
    path.write_bytes(b"hellO, world")
    with pytest.raises(IntegrityError) as caught:
        Store(store.root).trusted(DIGEST)
    assert caught.value.id == "OMK-I-102"
    assert not store.has(DIGEST)


def test_a_truncated_file_is_not_waited_for(store: Store) -> None:
    store.put_bytes(HELLO)
    blob = store.locate(DIGEST)
    blob.path.chmod(0o644)
    blob.path.write_bytes(HELLO[:3])
    assert blob.hash() == blob.hash_disk(lambda _: None) == digests.of_bytes(HELLO[:3])


def test_partial_downloads_have_one_name_for_all_runs(store: Store) -> None:
    assert store.partial(DIGEST).name == f"{DIGEST[7:]}.part"
    assert store.partial(DIGEST).parent == store.ingest


def test_a_blob_that_another_run_removed_at_once_is_no_failure(store: Store) -> None:
    store.put_bytes(HELLO)
    original = store._pool.put

    def put(stream: io.BytesIO, expected: str | None) -> tuple[str, int]:
        result = original(stream, expected)
        store._pool.discard(result[0])
        return result

    store._pool.put = put  # type: ignore[method-assign, assignment]
    assert store.put_bytes(b"gone") == digests.of_bytes(b"gone")


def test_isolating_what_is_gone_already_is_no_failure(store: Store) -> None:
    store.put_bytes(HELLO)
    store._pool.isolate(store.root / "nothing", DIGEST)
    assert list(store.quarantine.iterdir()) == []


def test_the_attached_note_names_the_schema(store: Store, bundle: Path) -> None:
    (note,) = (store.root / "attached").iterdir()
    assert json.loads(note.read_text())["schema"] == 1
    assert json.loads(note.read_text())["path"] == str(bundle)


def test_a_blob_is_discarded_once(store: Store) -> None:
    store.put_bytes(HELLO)
    assert (store.discard(DIGEST), store.discard(DIGEST)) == (len(HELLO), 0)


def test_a_note_that_is_removed_meanwhile_is_nothing_attached(store: Store, bundle: Path) -> None:
    (store.root / "attached" / "gone.json").symlink_to("nowhere")
    assert len(store.attached()) == 1


def test_a_bundle_that_changes_while_it_is_read_stays_ignored(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "b.omk.tar"
    bundle.write_bytes(HELLO + b"more")
    more = digests.of_bytes(b"more")
    store.attach(bundle, {DIGEST: (0, len(HELLO)), more: (len(HELLO), 4)})
    real = Blob.hash

    def hash_changed(blob: Blob) -> str:
        bundle.write_bytes(b"cut")
        return real(blob)

    monkeypatch.setattr(Blob, "hash", hash_changed)
    with pytest.raises(IntegrityError):
        store.trusted(DIGEST)
    assert not store.has(DIGEST)
    assert not store.has(more)
