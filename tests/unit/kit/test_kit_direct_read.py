"""Reading from the disk: the same bytes as by any other way, from every place and file system."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import random
from pathlib import Path

import pytest

from ohmykube.kit import direct_read

PIECE = direct_read.PIECE
SIZE = 2 * PIECE + 5000
DATA = random.Random(7).randbytes(SIZE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


def read(path: Path, offset: int, size: int) -> bytes:
    return b"".join(bytes(piece) for piece in direct_read.pieces(path, offset, size))


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (0, SIZE),
        (0, PIECE),
        (0, 1),
        (0, 0),
        (512, SIZE - 512),
        (4095, 2),
        (PIECE - 1, 2),
        (PIECE, PIECE),
        (SIZE - 1, 1),
    ],
)
def test_a_part_of_a_file(file: Path, offset: int, size: int) -> None:
    assert read(file, offset, size) == DATA[offset : offset + size]


@pytest.mark.parametrize("size", [SIZE + 1, SIZE + PIECE, 10 * SIZE])
def test_a_file_shorter_than_was_thought_gives_what_it_has(file: Path, size: int) -> None:
    assert read(file, 0, size) == DATA
    assert read(file, 4096, size) == DATA[4096:]
    assert read(file, SIZE + 9000, size) == b""


def test_what_was_just_written_is_read(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(PIECE)
        stream.write(b"other")
        stream.flush()
        assert read(file, PIECE, 5) == b"other"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux")
def test_a_file_system_that_cannot_read_past_the_cache() -> None:
    path = Path("/proc/cpuinfo")
    with pytest.raises(OSError, match="Invalid") as caught:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    assert caught.value.errno == errno.EINVAL
    found = read(path, 0, 1 << 20)
    assert found.startswith(path.read_bytes()[:9])


def test_from_a_place_that_only_the_cache_can_read_it_reads_on(file: Path) -> None:
    buffer = memoryview(mmap.mmap(-1, PIECE))
    with direct_read.DirectFile(file) as source:
        assert source.read(buffer, 1) == DATA[1 : PIECE + 1]
        assert source.read(buffer, PIECE + 1) == DATA[PIECE + 1 : 2 * PIECE + 1]
        assert source.read(buffer, 0) == DATA[:PIECE]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux")
def test_a_reader_that_stops_half_way_leaves_no_file_open(file: Path) -> None:
    pieces = direct_read.pieces(file, 0, SIZE)
    assert bytes(next(pieces)) == DATA[:PIECE]
    assert file in opened()
    del pieces
    assert file not in opened()


def opened() -> set[Path]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # of this very look
            found.add(link.readlink())
    return found


def test_what_cannot_be_opened_or_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none", 0, 1)
    with pytest.raises(IsADirectoryError):
        read(tmp_path, 0, 1)
