"""The files of an image archive by name: from a file, a directory, or a stream that passes once.

Nothing gets into the store before ``images`` has understood the whole archive. What a stream brings
waits in the store's ``ingest``; files and directories are read a second time, only what is needed.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from ohmykube.cache.archive import tarball
from ohmykube.cache.archive.tarball import Member, bad
from ohmykube.errors import NotFoundError
from ohmykube.kit import digest as digests
from ohmykube.kit import files, interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.cache.store import Store

BLOBS = "blobs/sha256/"
MAX_DOCUMENT_BYTES = 4 << 20
"""Manifests and configs are read whole; nothing else is."""
_HEAD = 8


class ArchiveFiles(abc.ABC):
    """What an archive holds. Names are relative, ``/`` between their parts."""

    label: str
    """The archive's name for messages."""

    @abc.abstractmethod
    def size(self, name: str) -> int | None:
        """Return the bytes of a file; None when there is no such file."""

    @abc.abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open a file that is there."""

    @abc.abstractmethod
    def put(self, name: str, store: Store, digest: str) -> None:
        """Bring a file into the store; raises IntegrityError when its digest is another."""

    def digest(self, name: str) -> str:
        """Return the digest of a file's bytes."""
        state = hashlib.sha256()
        with self.open(name) as stream:
            while chunk := stream.read(digests.CHUNK):
                state.update(chunk)
        return "sha256:" + state.hexdigest()

    def document(self, name: str) -> bytes | None:
        """Return a small file whole; None when there is none; IntegrityError when it is large."""
        size = self.size(name)
        if size is None:
            return None
        if size > MAX_DOCUMENT_BYTES:
            bad(self.label, f"{name} has {size} bytes, more than {MAX_DOCUMENT_BYTES}")
        with self.open(name) as stream:
            return stream.read()

    def head(self, name: str) -> bytes:
        """Return the first bytes of a file."""
        with self.open(name) as stream:
            return stream.read(_HEAD)


class TarFile(ArchiveFiles):
    """A plain tar that can be sought in."""

    def __init__(self, path: Path, label: str) -> None:
        self.label = label
        self._path = path
        with path.open("rb") as stream:
            members = tarball.Tar(stream, label, seekable=True).members()
            self._members = _linked({member.name: member for member in members}, label)

    def size(self, name: str) -> int | None:
        """See ``ArchiveFiles``."""
        found = self._members.get(name)
        return None if found is None else found.size

    def open(self, name: str) -> IO[bytes]:
        """See ``ArchiveFiles``."""
        member = self._members[name]
        return _region(self._path.open("rb", buffering=0), member.offset, member.size)

    def put(self, name: str, store: Store, digest: str) -> None:
        """See ``ArchiveFiles``."""
        with self.open(name) as stream:
            store.put_stream(stream, expected=digest)


class Spooled(ArchiveFiles):
    """What came through a stream, kept in a private directory until ``close``."""

    def __init__(self, stream: IO[bytes], label: str, store: Store) -> None:
        """Read the stream to its end; blobs that the store has are not written again."""
        self.label = label
        self._store = store
        with files.explained(store.ingest):
            files.ensure_directory(store.ingest)
            self._directory = Path(tempfile.mkdtemp(prefix="archive-", dir=store.ingest))
        self._digests: dict[str, str] = {}
        try:
            with files.explained(self._directory):
                members = dict(self._take(tarball.Tar(stream, label)))
            self._members = _linked(members, label)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove what was not put into the store."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _take(self, tar: tarball.Tar) -> Iterator[tuple[str, Member]]:
        for number, member in enumerate(tar.members()):
            yield member.name, Member(member.name, member.size, number, member.link)
            if member.link:
                continue
            named = _named(member.name)
            if named and self._store.has(named):
                if self._store.locate(named).size != member.size:
                    bad(self.label, f"{member.name} is not what its name says")
                self._digests[member.name] = named
                continue
            found = self._write(tar, number)
            if named and found != named:
                bad(self.label, f"{member.name} is not what its name says: it hashes to {found}")
            self._digests[member.name] = found

    def _write(self, tar: tarball.Tar, number: int) -> str:
        with self._file(number).open("xb") as target:
            return digests.copy(cast("IO[bytes]", tar), target)[0]

    def _file(self, number: int) -> Path:
        return self._directory / str(number)

    def size(self, name: str) -> int | None:
        """See ``ArchiveFiles``."""
        found = self._members.get(name)
        return None if found is None else found.size

    def digest(self, name: str) -> str:
        """See ``ArchiveFiles``; known from the first reading."""
        return self._digests[self._members[name].name]

    def open(self, name: str) -> IO[bytes]:
        """See ``ArchiveFiles``."""
        path = self._file(self._members[name].offset)
        return path.open("rb") if path.exists() else self._store.locate(self.digest(name)).open()

    def put(self, name: str, store: Store, digest: str) -> None:
        """See ``ArchiveFiles``."""
        path = self._file(self._members[name].offset)
        if path.exists():
            store.adopt(path, expected=digest)
        elif self.digest(name) != digest:
            bad(self.label, f"{name} has the digest {self.digest(name)}, not {digest}")


class Directory(ArchiveFiles):
    """An OCI layout directory. Links in it are not followed."""

    def __init__(self, root: Path, label: str) -> None:
        self.label = label
        self._root = root

    def size(self, name: str) -> int | None:
        """See ``ArchiveFiles``."""
        path = self._root
        for part in name.split("/"):
            path /= part
            if part in ("", ".", "..") or path.is_symlink():
                bad(self.label, f"{path} is a link, or not a name that a layout may hold")
        return path.stat().st_size if path.is_file() else None

    def open(self, name: str) -> IO[bytes]:
        """See ``ArchiveFiles``."""
        descriptor = os.open(self._root / name, os.O_RDONLY | os.O_NOFOLLOW)
        stream = os.fdopen(descriptor, "rb", buffering=0)
        return _region(stream, 0, os.fstat(descriptor).st_size)

    def put(self, name: str, store: Store, digest: str) -> None:
        """See ``ArchiveFiles``."""
        with self.open(name) as stream:
            store.put_stream(stream, expected=digest)


def _region(stream: io.FileIO, offset: int, size: int) -> IO[bytes]:
    return cast("IO[bytes]", io.BufferedReader(_Region(stream, offset, size), digests.CHUNK))


class _Region(io.RawIOBase):
    """Part of a file; reading it ends when a stop is asked for."""

    def __init__(self, stream: io.FileIO, offset: int, size: int) -> None:
        super().__init__()
        self._file = stream
        self._file.seek(offset)
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        interrupt.check()
        view = memoryview(buffer)[: self._left]  # type: ignore[arg-type]
        done = self._file.readinto(view)
        self._left -= done
        return done

    def close(self) -> None:
        self._file.close()
        super().close()


def _linked(members: dict[str, Member], label: str) -> dict[str, Member]:
    """Put in place of each link the file that it leads to."""
    result = dict(members)
    for name, member in members.items():
        if not member.link:
            continue
        target = members.get(member.link)
        if target is None or target.link or _named(name):
            bad(label, f"the link {name!r} does not lead to a file of the archive")
        result[name] = target
    return result


def _named(name: str) -> str:
    digest = f"sha256:{name.removeprefix(BLOBS)}"
    return digest if name.startswith(BLOBS) and digests.is_digest(digest) else ""


@contextlib.contextmanager
def open_archive(path: Path, store: Store) -> Iterator[ArchiveFiles]:
    """Open an archive file or an OCI layout directory.

    Raises:
        NotFoundError: there is nothing at ``path``.
        IntegrityError: it is damaged or hostile.
        UsageError: it is packed in a form that is not read.
    """
    if path.is_dir():
        yield Directory(path, path.name)
        return
    try:
        stream = path.open("rb")
    except OSError as error:
        raise NotFoundError(
            f"{path} cannot be read", why=error.strerror or str(error), id="OMK-I-503"
        ) from error
    with stream:
        if path.is_file() and not tarball.compression(stream.peek(_HEAD), path.name):
            yield TarFile(path, path.name)
            return
        with read_stream(stream, path.name, store) as contents:
            yield contents


@contextlib.contextmanager
def read_stream(stream: io.BufferedReader, label: str, store: Store) -> Iterator[ArchiveFiles]:
    """Read an archive that passes once, such as standard input; raises as ``open_archive``."""
    how = tarball.compression(stream.peek(_HEAD), label)
    spooled = Spooled(tarball.plain(stream, how), label, store)
    try:
        yield spooled
    finally:
        spooled.close()
