"""The pool: blobs by sha256, one read-only file each, made visible only by a rename."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self, cast

from ohmykube.cache import unfinished_files
from ohmykube.errors import IntegrityError
from ohmykube.kit import digest as digests
from ohmykube.kit import direct_read, files

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from ohmykube.cache.layout import Layout


@dataclass(frozen=True, slots=True)
class Blob:
    """Where the bytes of a blob are: ``size`` bytes of the file ``path`` from ``offset`` on."""

    digest: str
    path: Path
    offset: int
    size: int

    def open(self) -> IO[bytes]:
        """Return a seekable reader that sees the blob alone; position 0 is its first byte."""
        stream = self.path.open("rb")
        if self.offset == 0 and os.fstat(stream.fileno()).st_size == self.size:
            return stream
        return cast("IO[bytes]", io.BufferedReader(_Window(stream, self.offset, self.size)))

    def hash(self) -> str:
        """Return the digest of the bytes as programs get them; raises OSError."""
        buffer = memoryview(bytearray(digests.PIECE))
        with Reader(self) as reader:
            while reader.readinto(buffer):
                pass
            return reader.digest

    def hash_disk(self, tell: Callable[[int], None]) -> str:
        """Return the digest of the bytes that the disk has; raises OSError.

        Args:
            tell: called with the number of further bytes that were hashed.
        """
        state = hashlib.sha256()
        for piece in direct_read.pieces(self.path, self.offset, self.size):
            for start in range(0, len(piece), digests.PIECE):
                state.update(piece[start : start + digests.PIECE])
            tell(len(piece))
        return f"sha256:{state.hexdigest()}"


class Reader:
    """Reads a blob from its start and hashes what it reads.

    What is hashed is what the caller got: the bytes are read once, into the caller's buffer, and
    hashed there piece by piece, which the processor then still has in its own cache.
    """

    def __init__(self, blob: Blob) -> None:
        self._stream = blob.path.open("rb", buffering=0)
        self._stream.seek(blob.offset)
        self._left = blob.size
        self._state = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._stream.close()

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` and return how much of it; less than all only at the blob's end."""
        done, size = 0, min(len(buffer), self._left)
        while done < size:
            piece = buffer[done : min(done + digests.PIECE, size)]
            count = self._stream.readinto(piece)
            if not count:
                break
            self._state.update(piece[:count])
            done += count
        self._left -= done
        return done

    @property
    def digest(self) -> str:
        """The digest of what was read so far."""
        return f"sha256:{self._state.hexdigest()}"


class _Window(io.RawIOBase):
    """Part of a file as a file of its own."""

    def __init__(self, stream: IO[bytes], offset: int, size: int) -> None:
        self._stream = stream
        self._offset = offset
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._position)]
        if not view:
            return 0
        self._stream.seek(self._offset + self._position)
        count = cast("io.BufferedReader", self._stream).readinto(view)
        self._position += count
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class Pool:
    """The blobs below ``oci/blobs/sha256``; every method may run in several processes at once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def file(self, digest: str) -> Path:
        """Return where a blob is or would be; raises ValueError on a malformed digest."""
        if not digests.is_digest(digest):
            raise ValueError(f"not a sha256 digest: {digest!r}")
        return self._layout.blobs / digest.removeprefix("sha256:")

    def find(self, digest: str) -> Blob | None:
        """Return a blob, or None; raises ValueError on a malformed digest."""
        path = self.file(digest)
        with self._layout.reading():
            try:
                return Blob(digest, path, 0, path.stat().st_size)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def digests(self) -> tuple[str, ...]:
        """Return the digests of all blobs, sorted."""
        with self._layout.reading():
            if not self._layout.blobs.is_dir():
                return ()
            names = sorted(entry.name for entry in self._layout.blobs.iterdir())
        return tuple(f"sha256:{n}" for n in names if digests.is_digest(f"sha256:{n}"))

    def put(self, stream: IO[bytes], expected: str | None) -> tuple[str, int]:
        """See ``Store.put_stream``."""
        self._layout.prepare()
        with files.explained(self._layout.ingest):
            descriptor, name = tempfile.mkstemp(
                prefix=unfinished_files.PUT_PREFIX, dir=self._layout.ingest
            )
        temp = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target, files.explained(temp):
                # Held until the file is in place: ``sweep`` takes it for abandoned otherwise.
                fcntl.flock(target, fcntl.LOCK_EX)
                found, size = digests.copy(stream, target)
                target.flush()
                self._check(temp, found, expected)
                self._publish(temp, found)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink()
            raise
        return found, size

    def adopt(self, path: Path, expected: str | None) -> tuple[str, int]:
        """See ``Store.adopt``."""
        if path.stat().st_uid != os.geteuid() != 0:
            # Another user of this cache began it: only a copy can get the rights of a blob.
            with path.open("rb") as stream:
                stored = self.put(stream, expected)
            path.unlink(missing_ok=True)
            return stored
        with files.explained(path):
            found = digests.of_file(path)
            size = path.stat().st_size
            self._check(path, found, expected)
            self._publish(path, found)
        return found, size

    def discard(self, digest: str) -> int:
        """See ``Store.discard``."""
        path = self.file(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def isolate(self, path: Path, digest: str) -> None:
        """Move what is not what it should be to quarantine."""
        self._layout.make(self._layout.quarantine)
        stamp = f"{int(time.time())}-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):  # another run was quicker
            path.replace(self._layout.quarantine / f"{digest.removeprefix('sha256:')}-{stamp}")

    def _check(self, path: Path, found: str, expected: str | None) -> None:
        if expected is None or found == expected:
            return
        self.isolate(path, found)
        raise IntegrityError(
            "an artifact does not have the digest it should have",
            why=f"expected {expected}\nfound    {found}, kept in {self._layout.quarantine}",
            hint="run the same command again; if it stays, the source serves another file",
            id="OMK-I-103",
        )

    def _publish(self, temp: Path, digest: str) -> None:
        final = self.file(digest)
        temp.chmod(0o444)
        files.sync_file(temp)
        temp.replace(final)
        files.sync_directory(final.parent)
