"""Blobs into a tar by several threads: one result whichever way, and nothing that is damaged."""

from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.bundle import blob_copy, document, import_bundle, parts, read, write
from ohmykube.errors import IntegrityError, Interrupted, ResourceError
from ohmykube.kit import flush_window, interrupt
from ohmykube.model.artifact import Kind
from tests.unit.cache.bundle.conftest import QUIET, Workshop, file_ref

if TYPE_CHECKING:
    from pathlib import Path

SLOT = 4096
SIZES = (0, 1, 511, 512, 3584, 3585, 4095, 4096, 4097, 8191, 20000, 100_001)
"""Around the edges of blocks and slots, and longer than both slots together."""


@pytest.fixture
def many(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Blobs of many sizes, copied in small slots by four threads."""
    monkeypatch.setattr(blob_copy, "_SLOT", SLOT)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for number, size in enumerate(SIZES):
        body = random.Random(number).randbytes(size)
        workshop.wanted.append((file_ref(workshop.store, body, Kind.FILE, f"f{number}"), "other"))
    return workshop


def as_fat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file system be one that fills what was left out."""
    monkeypatch.setattr(flush_window, "is_sparse", lambda _descriptor: False)


def test_every_way_gives_the_same_bytes(many, tmp_path, monkeypatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    many.write(tmp_path / "a" / "x.omk.tar")
    many.write(tmp_path / "b" / "x.omk.tar", split=7000)
    as_fat(monkeypatch)
    many.write(tmp_path / "c" / "x.omk.tar")
    whole = (tmp_path / "a" / "x.omk.tar").read_bytes()
    assert whole == (tmp_path / "c" / "x.omk.tar").read_bytes()
    pieces = sorted((tmp_path / "b").glob("*.[0-9]*"))
    assert whole == b"".join(path.read_bytes() for path in pieces)
    found = read.load(tmp_path / "a" / "x.omk.tar")
    assert read.verify(found, QUIET) == sum(entry.size for entry in found.bundle.blobs)


def test_in_order_means_from_start_to_end(many, tmp_path, monkeypatch) -> None:
    as_fat(monkeypatch)
    places: list[tuple[int, int]] = []
    put = flush_window.WindowedWriter.write_at

    def recorded(
        self: flush_window.WindowedWriter, position: int, data: bytes | memoryview
    ) -> None:
        places.append((position, len(data)))
        put(self, position, data)

    monkeypatch.setattr(flush_window.WindowedWriter, "write_at", recorded)
    many.write(tmp_path / "x.omk.tar")
    end = 0
    for position, size in places:
        assert position == end
        end += size
    assert end == (tmp_path / "x.omk.tar").stat().st_size


@pytest.mark.parametrize("way", ["several threads", "in order", "in parts"])
@pytest.mark.parametrize("size", [511, 4096, 100_001])
def test_a_damaged_blob_leaves_nothing(many, tmp_path, monkeypatch, way, size) -> None:
    if way == "in order":
        as_fat(monkeypatch)
    entry = next(entry for entry in many.content.entries if entry.size == size)
    path = many.store.path(entry.digest)
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="is damaged"):
        many.write(tmp_path / "bad.omk.tar", split=9000 if way == "in parts" else 0)
    assert not [one for one in tmp_path.iterdir() if one.is_file()]
    assert not many.store.has(entry.digest), "it is in quarantine"


def test_a_blob_that_lost_its_end(many, tmp_path) -> None:
    entry = many.content.entries[-1]
    path = many.store.path(entry.digest)
    path.chmod(0o644)
    content = many.content
    os.truncate(path, entry.size - 600)
    with pytest.raises(IntegrityError):
        write.write(many.store, content, tmp_path / "bad.omk.tar", write.Form(), QUIET)
    assert not [one for one in tmp_path.iterdir() if one.is_file()]


def test_out_of_a_bundle_in_use(many, tmp_path, elsewhere) -> None:
    """What lies in an attached tar is hashed and copied from where it lies."""
    first = tmp_path / "first.omk.tar"
    many.write(first)
    import_bundle.attach(elsewhere, first, QUIET)
    assert not elsewhere.digests()
    second = Workshop(elsewhere, many.wanted)
    second.write(tmp_path / "second.omk.tar")
    assert (tmp_path / "second.omk.tar").read_bytes() == first.read_bytes()


@pytest.mark.parametrize("split", [0, 9000])
def test_no_space_in_the_middle(many, tmp_path, monkeypatch, split) -> None:
    put = os.pwrite

    def full(descriptor: int, data: memoryview, position: int) -> int:
        if position > 5000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return put(descriptor, data, position)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ResourceError, match="no space left"):
        many.write(tmp_path / "big.omk.tar", split=split)
    assert not [one for one in tmp_path.iterdir() if one.is_file()]


def test_a_stop_in_the_middle(many, tmp_path, monkeypatch) -> None:
    told = []

    def stop(count: int) -> None:
        told.append(count)
        interrupt.requested.set()

    entries = document.placed(many.content.entries)
    with (tmp_path / "out").open("wb") as stream:
        sink = write._Undivided(stream.fileno(), 1 << 20)
        try:
            with pytest.raises(Interrupted):
                blob_copy.copy(many.store, entries, sink, 0, stop)
        finally:
            interrupt.requested.clear()
    assert sum(told) < sum(SIZES), "the others stopped as well"


def test_parts_take_nothing_out_of_order(tmp_path: Path) -> None:
    divided = parts.SplitWriter(tmp_path / "x", 100)
    divided.write_at(0, b"abc")
    with pytest.raises(ValueError, match="not the end"):
        divided.write_at(4, b"d")
    divided.abandon(ValueError())
    assert not list(tmp_path.iterdir())
