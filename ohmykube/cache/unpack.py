"""Reading packages and release archives that may be truncated, damaged or hostile.

Packages are read by our own walk over the zstd frame and the USTAR headers, because the libraries
are too forgiving: zstandard's reader takes a truncated frame for the end and ignores what follows a
frame, and ``tarfile`` reads extension headers of any size into memory.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, NoReturn, cast

import zstandard

from ohmykube.cache.pack import WINDOW_LOG, is_safe_name
from ohmykube.errors import IntegrityError
from ohmykube.kit import digest as digests
from ohmykube.kit import files, interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

CHUNK = 1 << 20
_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a package may hold at most; sizes in bytes."""

    members: int = 10_000
    member_size: int = 2 << 30
    total_size: int = 4 << 30


@dataclass(frozen=True, slots=True)
class Content:
    """What a package holds: digest and size of its tar, and its members' names in order."""

    digest: str
    size: int
    members: tuple[str, ...] = field(default=())


def bad(path: Path, why: str) -> NoReturn:
    """Raise the error for an archive that must not be used."""
    raise IntegrityError(
        f"{path.name} is not a package that can be trusted",
        why=f"{why} ({path})",
        hint="remove it and run the same command again to fetch it anew",
        id="OMK-I-111",
    )


def content_size(path: Path) -> int:
    """Return the size in bytes after decompression, having walked to the frame's end.

    Raises:
        IntegrityError: not exactly one complete zstd frame with size and checksum.
    """
    with path.open("rb") as stream:
        head = stream.read(18)
        if head[:4] != _MAGIC:
            bad(path, "it is not a zstd file")
        try:
            frame = zstandard.get_frame_parameters(head)
        except zstandard.ZstdError as error:
            bad(path, f"its zstd header is broken: {error}")
        if not frame.has_checksum or frame.content_size == zstandard.CONTENTSIZE_UNKNOWN:
            bad(path, "its zstd header has no checksum or no size")
        if frame.window_size > 1 << WINDOW_LOG and frame.window_size != frame.content_size:
            bad(path, "it needs more memory than decoders give by default")
        stream.seek(zstandard.frame_header_size(head))
        last = False
        while not last:
            block = stream.read(3)
            if len(block) < 3:
                bad(path, "it is truncated")
            header = int.from_bytes(block, "little")
            last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            stream.seek(1 if kind == 1 else size, os.SEEK_CUR)
        end = stream.tell() + 4
    actual = path.stat().st_size
    if actual != end:
        bad(path, "it is truncated" if actual < end else "something follows its end")
    return int(frame.content_size)


def decompressed(path: Path, *, limit: int | None = None) -> Generator[bytes, None, None]:
    """Give the content of a one-frame zstd file in chunks of at most 1 MiB.

    Raises:
        IntegrityError: truncated, damaged, followed by anything, or larger than ``limit`` bytes.
    """
    expected = content_size(path)
    if limit is not None and expected > limit:
        bad(path, f"it would unpack to {expected} bytes, more than the {limit} allowed")
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)
    done = 0
    with path.open("rb") as stream, decompressor.stream_reader(stream, closefd=False) as reader:
        while True:
            interrupt.check()
            try:
                chunk = reader.read(CHUNK)
            except zstandard.ZstdError as error:
                bad(path, f"it is damaged: {error}")
            if not chunk:
                break
            done += len(chunk)
            yield chunk
    if done != expected:
        bad(path, f"it gave {done} bytes instead of {expected}")


def verify(
    path: Path,
    *,
    digest: str | None = None,
    content_digest: str | None = None,
    limits: Limits | None = None,
) -> Content:
    """Read a package to its end without writing anything and return what it holds.

    Raises:
        IntegrityError: anything about it is wrong.
    """
    return _walk(path, digest, content_digest, limits or Limits(), _ignore)


def unpack(
    path: Path,
    target: Path,
    *,
    digest: str | None = None,
    content_digest: str | None = None,
    limits: Limits | None = None,
) -> Content:
    """Unpack a package to ``target``, which appears complete in one step, or not at all.

    ``target`` must not exist, or be an empty directory.

    Raises:
        IntegrityError: anything about the package is wrong; nothing was written.
        FileExistsError: ``target`` has content.
        ResourceError: no space left.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is not an empty directory")
    with files.explained(target):
        temp = Path(tempfile.mkdtemp(prefix=files.TEMP_PREFIX, dir=target.parent))
        try:

            def write(header: tarfile.TarInfo, body: Iterator[bytes]) -> None:
                _write(temp, header, body)

            content = _walk(path, digest, content_digest, limits or Limits(), write)
            temp.chmod(0o755)
            temp.rename(target)
        except BaseException:
            shutil.rmtree(temp, ignore_errors=True)
            raise
    files.sync_directory(target.parent)
    return content


def extract(archive: Path, wanted: Mapping[str, str], target: Path, *, limit: int) -> None:
    """Take single regular files out of a release archive (``.tar.gz``, ``.tgz``, ``.tar``).

    Args:
        archive: a file whose digest was checked before.
        wanted: member name, without a leading ``./``, to file name below ``target``.
        target: an existing directory.
        limit: bytes that may be read in all.

    Raises:
        IntegrityError: a member is absent, is no regular file, or the archive is damaged.
    """
    missing = dict(wanted)
    read = 0
    try:
        # Not mode "r|gz": that one does not look at gzip's own checksum.
        with (
            _plain(archive) as plain,
            tarfile.open(fileobj=plain, mode="r|", bufsize=CHUNK) as stream,
        ):
            for header in stream:
                read += header.size
                if read > limit:
                    bad(archive, f"it holds more than {limit} bytes")
                name = missing.pop(header.name.removeprefix("./"), None)
                if name is None:
                    continue
                source = stream.extractfile(header) if header.isreg() else None
                if source is None:
                    bad(archive, f"{header.name} is not a regular file")
                with files.replacing(target / name, 0o755) as sink:
                    digests.copy(source, sink)
            while plain.read(CHUNK):
                interrupt.check()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        bad(archive, f"it is damaged: {error}")
    except OSError as error:
        if error.errno is not None:
            raise
        bad(archive, f"it is damaged: {error}")  # gzip.BadGzipFile has no number
    if missing:
        bad(archive, f"it does not have {', '.join(sorted(missing))}")


def _plain(archive: Path) -> IO[bytes]:
    with archive.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(archive, "rb")) if compressed else archive.open("rb")


def _ignore(_header: tarfile.TarInfo, body: Iterator[bytes]) -> None:
    for _ in body:
        pass


def _write(root: Path, header: tarfile.TarInfo, body: Iterator[bytes]) -> None:
    path = root / header.name
    if header.isdir():
        path.mkdir(mode=0o755)
        path.chmod(0o755)
        return
    # New and without links by construction; O_EXCL says so to the kernel too.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        for chunk in body:
            stream.write(chunk)
        os.fchmod(stream.fileno(), header.mode)


def _walk(
    path: Path,
    digest: str | None,
    content_digest: str | None,
    limits: Limits,
    take: Callable[[tarfile.TarInfo, Iterator[bytes]], None],
) -> Content:
    if digest is not None and (found := digests.of_file(path)) != digest:
        bad(path, f"its digest is {found}, not {digest}")
    tar = _Tar(path, limits)
    # The reader's generator holds the file: closed here even when a member is refused.
    with contextlib.closing(tar.chunks):
        for header in tar.members():
            take(header, tar.body(header))
        tar.end()
    if content_digest is not None and tar.digest != content_digest:
        bad(path, f"its content's digest is {tar.digest}, not {content_digest}")
    return Content(tar.digest, tar.size, tuple(tar.seen))


class _Tar:
    """A strict reader of what ``pack`` writes: USTAR, regular files and directories only."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self.seen: dict[str, bool] = {}
        """Name to whether it is a directory."""
        self.size = 0
        self._state = hashlib.sha256()
        self._buffer = memoryview(b"")  # slices without copying
        self.chunks = decompressed(path, limit=limits.total_size)

    @property
    def digest(self) -> str:
        return "sha256:" + self._state.hexdigest()

    def _read(self, most: int) -> memoryview:
        """Return up to ``most`` bytes, none only at the end."""
        if not self._buffer:
            self._buffer = memoryview(next(self.chunks, b""))
            self._state.update(self._buffer)
            self.size += len(self._buffer)
        data, self._buffer = self._buffer[:most], self._buffer[most:]
        return data

    def _block(self) -> bytes:
        data = b""
        while len(data) < _BLOCK:
            piece = self._read(_BLOCK - len(data))
            if not piece:
                bad(self.path, "its tar ends in the middle")
            data += bytes(piece)
        return data

    def members(self) -> Iterator[tarfile.TarInfo]:
        """Give each member's header, checked; the body must be read before the next."""
        while (block := self._block()) != bytes(_BLOCK):
            try:
                header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
            except (tarfile.TarError, ValueError) as error:
                bad(self.path, f"a tar header is broken: {error}")
            if block[257:265] != b"ustar\x0000":
                bad(self.path, "its tar has a format that packages do not have")
            self._check(header)
            yield header

    def _check(self, header: tarfile.TarInfo) -> None:
        name = header.name
        if header.type not in (tarfile.REGTYPE, tarfile.DIRTYPE):
            bad(self.path, f"{name!r} is neither a file nor a directory")
        if not is_safe_name(name):
            bad(self.path, f"{name!r} is not a name that a package may hold")
        if name in self.seen:
            bad(self.path, f"{name!r} is there twice")
        parent = str(PurePosixPath(name).parent)
        if parent != "." and not self.seen.get(parent, False):
            bad(self.path, f"{name!r} comes without its directory")
        if header.mode & ~0o777 or header.uid or header.gid:
            bad(self.path, f"{name!r} has an owner or mode that packages do not have")
        if not 0 <= header.size <= (self.limits.member_size if header.isreg() else 0):
            bad(self.path, f"{name!r} has the size {header.size}")
        if len(self.seen) >= self.limits.members:
            bad(self.path, f"it has more than {self.limits.members} members")
        self.seen[name] = header.isdir()

    def body(self, header: tarfile.TarInfo) -> Iterator[bytes]:
        """Give a member's content, then skip the padding."""
        left = header.size
        while left:
            data = self._read(min(left, CHUNK))
            if not data:
                bad(self.path, "its tar ends in the middle")
            left -= len(data)
            yield bytes(data)
        padding = -header.size % _BLOCK
        while padding:
            data = self._read(padding)
            if not data:
                bad(self.path, "its tar ends in the middle")
            padding -= len(data)

    def end(self) -> None:
        """Check that only zeros follow the end mark, and read the frame to its end."""
        self._block()
        while data := self._read(CHUNK):
            if bytes(data).strip(b"\0"):
                bad(self.path, "something follows the end of its tar")
