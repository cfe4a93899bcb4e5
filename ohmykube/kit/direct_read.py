"""Reading large files from the disk itself, while the caller works on what has been read.

The kernel's cache of files costs a copy of each byte and a page of memory for it, which takes a
processor as long as a sha256 of them, and pushes out what programs need. It also hides what a disk
has become since: who checks a file wants the disk's bytes.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIECE = 1 << 20
"""Read at once, in bytes. Two of them are in memory for each file."""
_BLOCK = 4096
"""Places and sizes of what is read past the cache are multiples of this on all common disks."""


def pieces(path: Path, offset: int, size: int) -> Iterator[memoryview]:
    """Give ``size`` bytes of a file from ``offset`` on in pieces; fewer if the file ends before.

    A piece is good until the next one is asked for. File systems that cannot read past the cache
    are read as usual.

    Raises:
        OSError: the file cannot be opened or read.
    """
    position, end = offset - offset % _BLOCK, offset + size
    buffers = itertools.cycle([memoryview(mmap.mmap(-1, PIECE)) for _ in range(2)])
    with DirectFile(path) as source, ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(source.read, next(buffers), position)
        while position < end and (piece := coming.result()):
            start, position = position, position + len(piece)
            if position < end:
                coming = ahead.submit(source.read, next(buffers), position)
            yield piece[max(offset - start, 0) : end - start]


class DirectFile:
    """A file, read past the kernel's cache as long as that works."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = _open(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        os.close(self._descriptor)

    def read(self, buffer: memoryview, position: int) -> memoryview:
        """Fill ``buffer`` from a place of the file; return what was filled of it."""
        try:
            return buffer[: os.preadv(self._descriptor, [buffer], position)]
        except OSError as error:
            # Larger blocks than ours, or the odd end of a file that is shorter than was thought.
            if error.errno != errno.EINVAL:
                raise
        plain = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        os.close(self._descriptor)
        self._descriptor = plain
        return buffer[: os.preadv(self._descriptor, [buffer], position)]


def _open(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECT", 0))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # some file systems in memory
    if hasattr(fcntl, "F_NOCACHE"):  # macOS
        fcntl.fcntl(descriptor, fcntl.F_NOCACHE, 1)
    return descriptor
