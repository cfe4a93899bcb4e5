"""A walk over a tar that may be hostile, forwards only, with bounded memory.

``tarfile`` reads extension headers of any size into memory and follows whatever they say; here only
what image archives hold is let in: regular files, directories, and links that stay inside.
"""

from __future__ import annotations

import gzip
import posixpath
import tarfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NoReturn, cast

import zstandard

from ohmykube.errors import IntegrityError, UsageError
from ohmykube.kit import digest as digests
from ohmykube.kit import interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = tarfile.BLOCKSIZE
MAX_MEMBERS = 20_000
MAX_MEMBER_BYTES = 64 << 30
MAX_TOTAL_BYTES = 256 << 30
"""After decompression; what an archive says is never believed for memory, only for disk."""
_MAX_EXTENSION = 64 << 10
_MAX_NAME = 1024
_WINDOW = 1 << 27
"""The largest zstd window that decoders take by default."""
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x04\x22\x4d\x18": "lz4", b"PK\x03\x04": "zip"}
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file, or a link to one when ``link`` is not empty; names are clean."""

    name: str
    size: int
    offset: int
    """Of its first byte in the plain tar."""
    link: str = ""


def bad(label: str, why: str) -> NoReturn:
    """Raise the error for an archive that is not taken."""
    raise IntegrityError(
        f"{label} is not an image archive that can be used",
        why=why,
        hint="save the image again, with docker, podman, nerdctl or skopeo",
        id="OMK-I-501",
    )


def compression(head: bytes, label: str) -> str:
    """Return ``gzip``, ``zstd`` or an empty string for a stream that begins with ``head``.

    Raises:
        UsageError: it has a form that is not read.
    """
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise UsageError(
                f"{label} is packed with {name}, which is not read",
                why="plain tar, gzip and zstd are",
                hint=f"unpack it with {name} first",
                id="OMK-I-502",
            )
    return next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), "")


def plain(stream: IO[bytes], how: str) -> IO[bytes]:
    """Return the decompressed stream; memory stays bounded whatever it unpacks to."""
    if how == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=stream, mode="rb"))
    if how == "zstd":
        reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(
            stream, read_across_frames=True, closefd=False
        )
        return cast("IO[bytes]", reader)
    return stream


class Tar:
    """Members in order. Between two members the body of the first may be read, or is skipped."""

    def __init__(self, stream: IO[bytes], label: str, *, seekable: bool = False) -> None:
        self._stream = stream
        self._label = label
        self._seekable = seekable
        self._position = 0
        self._left = 0
        self._seen: set[str] = set()
        self._long: dict[str, str] = {}

    def read(self, size: int = -1) -> bytes:
        """Read from the body of the current member."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._exactly(min(wanted, digests.CHUNK)) if wanted else b""
        self._left -= len(data)
        return data

    def members(self) -> Iterator[Member]:
        """Give each file and link.

        Raises:
            IntegrityError: the tar is damaged, cut off, or holds what no image archive holds.
        """
        while True:
            block = self._exactly(BLOCK)
            if not block.strip(b"\0"):
                self._drain()
                return
            header = self._header(block)
            if self._extension(header):
                continue
            member = self._member(header)
            self._long = {}
            if member is not None:
                if self._position + member.size > MAX_TOTAL_BYTES:
                    bad(self._label, f"it holds more than {MAX_TOTAL_BYTES >> 30} GiB")
                self._left = member.size
                yield member
                self._skip(self._left + -member.size % BLOCK)
                self._left = 0

    def _member(self, header: tarfile.TarInfo) -> Member | None:
        name = self._clean(self._long.get("path", header.name))
        size = self._size(header)
        if header.type == tarfile.DIRTYPE:
            if size:
                bad(self._label, f"the directory {name!r} has a size")
            return None
        if name in self._seen:
            bad(self._label, f"{name!r} is there twice")
        if len(self._seen) >= MAX_MEMBERS:
            bad(self._label, f"it has more than {MAX_MEMBERS} files")
        self._seen.add(name)
        if header.type in _FILES:
            return Member(name, size, self._position)
        if header.type == tarfile.SYMTYPE and not size:
            return Member(name, 0, self._position, self._target(name, header))
        if header.type == tarfile.LNKTYPE and not size:
            # tar makes one of a file that it packs for the second time.
            link = self._clean(self._long.get("linkpath", header.linkname))
            return Member(name, 0, self._position, link)
        bad(self._label, f"{name!r} is neither a file nor a directory")

    def _target(self, name: str, header: tarfile.TarInfo) -> str:
        # docker itself links a layer that an image has twice: <id>/layer.tar -> ../<id>/layer.tar
        link = self._long.get("linkpath", header.linkname)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
        if link.startswith("/") or target.startswith("../") or target in ("..", "."):
            bad(self._label, f"the link {name!r} leads out of the archive")
        return target

    def _header(self, block: bytes) -> tarfile.TarInfo:
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.TarError, ValueError) as error:
            bad(self._label, f"a tar header cannot be read: {error}")

    def _extension(self, header: tarfile.TarInfo) -> bool:
        """Take in a pax or GNU header that describes the next member; tell whether it was one."""
        if header.type not in (b"x", b"g", b"L", b"K"):
            return False
        if not 0 <= header.size <= _MAX_EXTENSION:
            bad(self._label, f"an extension header has {header.size} bytes")
        data = self._exactly(header.size)
        self._skip(-header.size % BLOCK)
        if header.type in (b"L", b"K"):
            key = "path" if header.type == b"L" else "linkpath"
            self._long[key] = self._text(data.rstrip(b"\0"))
            return True
        for key, value in self._records(data):
            if key.startswith("GNU.sparse"):
                bad(self._label, "it holds a sparse file")
            if key in ("path", "linkpath", "size"):
                if header.type == b"g":
                    bad(self._label, f"a header for all files sets their {key}")
                self._long[key] = value
        return True

    def _records(self, data: bytes) -> Iterator[tuple[str, str]]:
        while data:
            length, blank, _ = data.partition(b" ")
            end = int(length) if length.isdigit() and len(length) < 8 else 0
            record = data[len(length) + 1 : end]
            key, equals, value = record.partition(b"=")
            if not blank or not equals or not record.endswith(b"\n") or end > len(data):
                bad(self._label, "an extension header is malformed")
            yield key.decode("utf-8", "replace"), self._text(value[:-1], strict=False)
            data = data[end:]

    def _text(self, data: bytes, *, strict: bool = True) -> str:
        try:
            return data.decode("utf-8", "strict" if strict else "surrogateescape")
        except UnicodeDecodeError:
            bad(self._label, "a name is not UTF-8")

    def _size(self, header: tarfile.TarInfo) -> int:
        told = self._long.get("size")
        if told is not None and not (told.isascii() and told.isdigit() and len(told) < 16):
            bad(self._label, f"an extension header has the size {told!r}")
        size = header.size if told is None else int(told)
        if not 0 <= size <= MAX_MEMBER_BYTES:
            bad(self._label, f"{header.name!r} has the size {size}")
        return size

    def _clean(self, name: str) -> str:
        plain_name = posixpath.normpath(name.rstrip("/")) if name.rstrip("/") else "."
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or len(name) > _MAX_NAME or "\0" in name:
            bad(self._label, f"{name[:80]!r} is not a name that an image archive may hold")
        return plain_name

    # -- bytes ---------------------------------------------------------------------------------

    def _exactly(self, size: int) -> bytes:
        data = self._some(size)
        while len(data) < size:
            more = self._some(size - len(data))
            if not more:
                bad(self._label, "it ends in the middle" if self._position else "it is empty")
            data += more
        return data

    def _some(self, size: int) -> bytes:
        interrupt.check()
        try:
            data = self._stream.read(size)
        except (EOFError, zlib.error, zstandard.ZstdError, gzip.BadGzipFile) as error:
            bad(self._label, f"it is damaged: {error}")
        self._position += len(data)
        return data

    def _skip(self, size: int) -> None:
        if self._seekable and size > digests.CHUNK:
            # One byte short, so that the end of a file that was cut off is noticed.
            self._stream.seek(self._position + size - 1)
            self._position += size - 1
            size = 1
        while size:
            size -= len(self._exactly(min(size, digests.CHUNK)))

    def _drain(self) -> None:
        """Read to the end: the sender sees no broken pipe, and gzip's checksum is looked at."""
        while data := self._some(digests.CHUNK):
            if data.strip(b"\0"):
                bad(self._label, "something follows its end")
            if self._position > MAX_TOTAL_BYTES:
                bad(self._label, f"it holds more than {MAX_TOTAL_BYTES >> 30} GiB")
