"""Packages for nodes: one deterministic tar, compressed with zstd.

Same members in, same bytes out, on any machine with the same zstd library. What a package *is* is
the digest of its tar (``content_digest``); the digest of the compressed file is how it is fetched.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

import zstandard

from ohmykube.errors import IntegrityError
from ohmykube.kit import files, interrupt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

LEVEL = 10
WINDOW_LOG = 27
"""The largest window that every decoder accepts without being asked (128 MiB)."""
MOST_THREADS = 6
"""Each takes some 25 MiB beside the window, and a pack is to stay below 400 MiB."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@=-]*|\.[A-Za-z0-9_][A-Za-z0-9._+@=-]*")
"""One component of a member's name: nothing that a shell, a terminal or a file system twists."""
MAX_NAME = 200
_BLOCK = tarfile.BLOCKSIZE
_RECORD = tarfile.RECORDSIZE


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file of a package; ``mode`` has permission bits only."""

    path: Path
    mode: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A finished package; sizes in bytes."""

    digest: str
    size: int
    content_digest: str
    content_size: int


def is_safe_name(name: str) -> bool:
    """Tell whether ``name`` is relative, plain and stays below the place of unpacking."""
    return len(name) <= MAX_NAME and all(NAME.fullmatch(part) for part in name.split("/"))


def pack(members: Mapping[str, Member], target: Path, *, threads: int = 0) -> Packed:
    """Pack files under the given names into ``target``, which appears in one step.

    Args:
        members: archive name (``usr/local/bin/runc``) to file.
        target: the ``.tar.zst``.
        threads: at least 1, whatever is asked: zstd cuts its input into the same jobs for every
            number of workers from 1 up, but does not cut it at all without workers, which gives
            other bytes. At most ``MOST_THREADS``; 0 means one for each processor.

    Raises:
        ValueError: a name or a mode that no package may have.
        IntegrityError: a file changed while it was packed, or cannot be read.
        ResourceError: no space left.
    """
    entries = _entries(members)
    content_size = _content_size(entries)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        window_log=WINDOW_LOG,
        enable_ldm=True,
        write_checksum=True,
        write_content_size=True,
        threads=min(threads if threads > 0 else os.cpu_count() or 1, MOST_THREADS),
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with files.replacing(target, 0o644) as stream:
        sink = _Hashing(stream)
        try:
            # Not as a context: leaving one finishes the frame after an error too, and the complaint
            # about its size would hide what went wrong.
            writer = compressor.stream_writer(
                cast("IO[bytes]", sink), size=content_size, closefd=False
            )
            content = _Hashing(writer)
            _write_tar(entries, content)
            writer.flush(zstandard.FLUSH_FRAME)
        except (zstandard.ZstdError, tarfile.TarError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk, not the files: ``replacing`` explains it
            raise IntegrityError(
                f"a file changed or could not be read while {target.name} was packed",
                why=str(error),
                hint="run the same command again; if it stays, ohmykube cache verify",
                id="OMK-I-110",
            ) from error
    return Packed(sink.digest, sink.size, content.digest, content.size)


def _entries(members: Mapping[str, Member]) -> list[tuple[tarfile.TarInfo, Path | None]]:
    """Return headers in order of name, each parent directory before its first child."""
    entries: dict[str, tuple[tarfile.TarInfo, Path | None]] = {}
    for name, member in members.items():
        if not is_safe_name(name) or member.mode & ~0o777:
            raise ValueError(f"not a member for a package: {name!r}, mode {member.mode:o}")
        for parent in PurePosixPath(name).parents:
            if parent.name:
                entries[str(parent)] = (_header(str(parent), tarfile.DIRTYPE, 0o755, 0), None)
    for name, member in members.items():
        if name in entries:
            raise ValueError(f"both a file and a directory: {name!r}")
        size = member.path.stat().st_size
        entries[name] = (_header(name, tarfile.REGTYPE, member.mode, size), member.path)
    return [entries[name] for name in sorted(entries)]


def _header(name: str, kind: bytes, mode: int, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.mode, header.size = kind, mode, size
    return header  # uid, gid, mtime are 0 and the owner's names empty


def _content_size(entries: list[tuple[tarfile.TarInfo, Path | None]]) -> int:
    blocks = sum(1 + -(-header.size // _BLOCK) for header, _ in entries) + 2
    return -(-blocks * _BLOCK // _RECORD) * _RECORD


def _write_tar(entries: list[tuple[tarfile.TarInfo, Path | None]], sink: _Hashing) -> None:
    # USTAR: the oldest format that all read, and one without extension headers that could differ.
    with tarfile.open(
        fileobj=cast("IO[bytes]", sink),
        mode="w|",
        format=tarfile.USTAR_FORMAT,
        bufsize=1 << 20,
    ) as archive:
        archive.copybufsize = 1 << 20  # type: ignore[attr-defined] # an argument of open, untyped
        for header, path in entries:
            if path is None:
                archive.addfile(header)
            else:
                with _Member(path) as stream:
                    archive.addfile(header, cast("IO[bytes]", stream))
                    if stream.read(1):
                        raise tarfile.TarError(f"{path} has grown")


class _Member:
    """A file to be packed; a failure to read it is not one to write the package."""

    def __init__(self, path: Path) -> None:
        try:
            self._stream = path.open("rb")
        except OSError as error:
            raise tarfile.ReadError(str(error)) from error

    def __enter__(self) -> _Member:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            raise tarfile.ReadError(f"{self._stream.name}: {error}") from error


class _Hashing(io.RawIOBase):
    """Passes writes on and keeps digest and size of what went through."""

    def __init__(self, target: IO[bytes] | zstandard.ZstdCompressionWriter) -> None:
        self._target = target
        self._state = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        interrupt.check()
        self._target.write(data)
        self._state.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        return "sha256:" + self._state.hexdigest()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the target open: it belongs to the caller."""
