"""A bundle in one file or in parts, and the sums of the parts.

``F.sha256`` beside the parts ``F.001``, ``F.002`` … is what ``sha256sum -c`` reads.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from ohmykube.errors import IntegrityError, NotFoundError, PermissionDenied
from ohmykube.kit import digest as digests
from ohmykube.kit import failures, files, flush_window, shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _typeshed import WriteableBuffer

SUMS = ".sha256"
_LINE = re.compile(r"(?P<sum>[0-9a-f]{64})  (?P<name>[^\x00-\x1f/]{1,250}\.[0-9]{3,6})")
_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Part:
    """A file that holds ``size`` bytes of a bundle; ``digest`` is empty for an undivided one."""

    path: Path
    size: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class BundleFile:
    """Where a bundle lies."""

    label: str
    """The path to name in messages."""
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)

    @property
    def divided(self) -> bool:
        """Tell whether it is in parts."""
        return bool(self.parts[0].digest)

    def open(self) -> IO[bytes]:
        """Return a seekable reader over all parts."""
        if not self.divided:
            return self.parts[0].path.open("rb", buffering=0)
        return cast("IO[bytes]", _Joined(self.parts))

    def holding(self, offset: int, size: int) -> str:
        """Return the names of the files that hold these bytes."""
        names, start = [], 0
        for part in self.parts:
            if offset < start + part.size and offset + max(size, 1) > start:
                names.append(part.path.name)
            start += part.size
        return ", ".join(names)


def find(path: Path) -> BundleFile:
    """Return the bundle at ``path``: a file, the sums of parts, or what the parts were cut from.

    Raises:
        NotFoundError: there is none, or a part is not there.
        IntegrityError: the sums cannot be read.
    """
    if not path.name:  # nothing was given, or ``.``, or ``/``
        raise NotFoundError(
            f"there is no bundle {path}",
            why="it is a directory",
            hint=f"ls -l {shell.word(path)}",
            id="OMK-I-401",
        )
    sums = path if path.name.endswith(SUMS) else path.with_name(path.name + SUMS)
    if path.is_file() and path != sums:
        return BundleFile(str(path), (Part(path, path.stat().st_size),))
    if not sums.is_file():
        raise NotFoundError(
            f"there is no bundle {path}",
            why=f"neither {path} nor {sums.name} beside it is a file",
            hint=f"ls -l {shell.word(path.parent)}",
            id="OMK-I-401",
        )
    return BundleFile(str(path), tuple(_listed(sums)))


def _listed(sums: Path) -> Iterator[Part]:
    with sums.open("rb") as stream:
        lines = stream.read(_MOST * 400).decode("utf-8", "replace").splitlines()
    found = [_LINE.fullmatch(line) for line in lines]
    names = [match["name"] for match in found if match]
    if not lines or len(names) != len(lines) or len(set(names)) != len(names):
        raise IntegrityError(
            f"{sums} does not list the parts of a bundle",
            why="each line must be a sha256 in hex, two blanks and the name of a part",
            hint="copy it again from where the bundle was made",
            id="OMK-I-403",
        )
    missing = [name for name in names if not sums.with_name(name).is_file()]
    if missing:
        raise NotFoundError(
            f"parts of the bundle are missing: {', '.join(missing)}",
            why=f"{sums.name} lists {len(names)} parts, which must lie beside it",
            hint=f"copy {' '.join(missing)} to {sums.parent}",
            id="OMK-I-404",
        )
    for match in found:
        if match is not None:
            path = sums.with_name(match["name"])
            yield Part(path, path.stat().st_size, f"sha256:{match['sum']}")


@contextlib.contextmanager
def readable(label: str) -> Iterator[None]:
    """Turn an OSError of reading a bundle into an error that says what to do.

    Raises:
        PermissionDenied: this user may not read it.
        IntegrityError: the medium cannot.
    """
    try:
        yield
    except PermissionError as error:
        raise PermissionDenied(
            f"cannot read {label}",
            why=str(error),
            hint=f"ls -l {shell.word(label)}  (who owns it?)",
            id="OMK-I-408",
        ) from error
    except OSError as error:
        if error.errno not in (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO):
            raise
        raise IntegrityError(
            f"{label} cannot be read",
            why=f"{error}: the medium is damaged, or was taken away",
            hint=f"copy it again, then: ohmykube bundle verify {shell.word(label)}",
            id="OMK-I-409",
        ) from error


def check(source: BundleFile) -> None:
    """Hash every part.

    Raises:
        IntegrityError: names each part that is not what it was.
    """
    wrong = [
        part.path.name
        for part in source.parts
        if part.digest and digests.of_file(part.path) != part.digest
    ]
    if wrong:
        raise IntegrityError(
            f"damaged: {', '.join(wrong)} of {source.label}",
            why=f"of {len(source.parts)} parts, {len(wrong)} have other sums than listed",
            hint=f"copy {' '.join(wrong)} again; the other parts are good",
            id="OMK-I-405",
        )


class _Joined(io.RawIOBase):
    """Files one after another as one."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self._parts = parts
        self._size = sum(part.size for part in parts)
        self._position = 0
        self._current: tuple[int, IO[bytes]] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        start = 0
        for number, part in enumerate(self._parts):
            if self._position < start + part.size:
                stream = self._open(number)
                stream.seek(self._position - start)
                view = memoryview(buffer)[: start + part.size - self._position]
                count = cast("io.FileIO", stream).readinto(view) or 0
                self._position += count
                return count
            start += part.size
        return 0

    def _open(self, number: int) -> IO[bytes]:
        if self._current is None or self._current[0] != number:
            if self._current is not None:
                self._current[1].close()
            self._current = (number, self._parts[number].path.open("rb", buffering=0))
        return self._current[1]

    def close(self) -> None:
        if self._current is not None:
            self._current[1].close()
        super().close()


class SplitWriter:
    """Writes parts of at most ``limit`` bytes; nothing has its name before ``finish``."""

    anywhere = False
    """A part's sum is made while it is written."""

    def __init__(self, target: Path, limit: int) -> None:
        self._target = target
        self._limit = limit
        self._stack = contextlib.ExitStack()
        self._thread = self._stack.enter_context(ThreadPoolExecutor(1, "sum"))
        self._writer: flush_window.WindowedWriter | None = None
        self._end = 0
        self._left = 0
        self._state = hashlib.sha256()
        self._sums: list[str] = []

    def write_at(self, position: int, data: bytes | memoryview) -> None:
        """Write all of ``data``; raises ValueError unless it follows what was written last."""
        if position != self._end:
            raise ValueError(f"{position} is not the end of what was written, {self._end}")
        view = memoryview(data)
        self._end += len(view)
        while view:
            writer = self._writer
            if writer is None or not self._left:
                writer = self._next()
            piece = view[: self._left]
            summing = self._thread.submit(self._state.update, piece)
            with failures.closing(summing.result):
                writer.write_at(self._limit - self._left, piece)
            self._left -= len(piece)
            view = view[len(piece) :]

    def _path(self, number: int) -> Path:
        return self._target.with_name(f"{self._target.name}.{number:03d}")

    def _next(self) -> flush_window.WindowedWriter:
        self._close_sum()
        path = self._path(len(self._sums) + 1)
        stream = self._stack.enter_context(files.replacing(path, 0o644))
        self._writer = flush_window.WindowedWriter(stream.fileno())
        self._left = self._limit
        self._state = hashlib.sha256()
        return self._writer

    def _close_sum(self) -> None:
        if self._writer is not None:
            self._sums.append(self._state.hexdigest())

    def finish(self) -> tuple[Path, ...]:
        """Give all parts their names, then write the sums; return the sums' file and the parts."""
        self._close_sum()
        self._stack.close()
        paths = [self._path(number + 1) for number in range(len(self._sums))]
        sums = self._target.with_name(self._target.name + SUMS)
        lines = [f"{sum_}  {path.name}\n" for sum_, path in zip(self._sums, paths, strict=True)]
        files.write(sums, "".join(lines), 0o644)
        return (sums, *paths)

    def abandon(self, error: BaseException) -> None:
        """Remove what was written."""
        with contextlib.suppress(type(error)):
            self._stack.__exit__(type(error), error, error.__traceback__)
