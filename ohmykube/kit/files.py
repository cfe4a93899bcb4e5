"""Writing files so that a crash leaves the old or the new content, never a torn one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ohmykube.errors import LockedError, PermissionDenied, ResourceError
from ohmykube.kit import shell

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMP_PREFIX = ".omk-tmp-"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TAKEN = (
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.EBUSY,
    errno.ELOOP,  # a link where none is followed
)
_MOUNTS = Path("/proc/self/mountinfo")
_REMOVALS = 100
"""How often a tree is gone through of which others remove parts, or to which they add some."""
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


@dataclass(frozen=True, slots=True)
class Modes:
    """With which rights things are made: this user's alone by default."""

    directory: int = 0o700
    file: int = 0o600
    group: int | None = None
    """The group that new things are given to; None leaves what the system chose."""


PRIVATE = Modes()


def modes_of(directory: Path) -> Modes:
    """Return the rights for things below ``directory``: shared if its group may write there.

    Raises:
        OSError: it cannot be looked at, except that an absent one is private.
    """
    try:
        status = directory.stat()
    except FileNotFoundError:
        return PRIVATE
    if not status.st_mode & stat.S_IWGRP:
        return PRIVATE
    others = status.st_mode & 0o005
    return Modes(0o2770 | others, 0o660 | (others & 0o004), status.st_gid)


def hand_over(descriptor: int, modes: Modes, mode: int | None = None) -> None:
    """Give an open file or directory of ours the rights of ``modes``; others' stay as they are.

    Args:
        descriptor: what is open.
        modes: mode and group.
        mode: instead of ``modes.file``.

    Raises:
        OSError: as chmod(2) says.
    """
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        return
    if modes.group not in (None, status.st_gid):
        # Who is no member of the group cannot give to it; its members then see a clear refusal.
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, -1, modes.group or 0)
    os.fchmod(descriptor, modes.file if mode is None else mode)


def sync(descriptor: int, full: int | None = _FULL_SYNC) -> None:
    """Make what was written to an open file durable.

    Args:
        descriptor: the open file.
        full: the command F_FULLFSYNC of fcntl(2): on macOS fsync alone does not reach the disk.
    """
    if full is not None:
        # Not every file system knows it; then fsync is all there is.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of the file ``path`` durable."""
    with path.open("rb") as stream:
        sync(stream.fileno())


def sync_directory(path: Path) -> None:
    """Make a rename or unlink in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def ensure_directory(path: Path, mode: int = 0o700, group: int | None = None) -> Path:
    """Create ``path`` with parents, each new one with ``mode`` and ``group``; return it.

    Raises:
        LockedError: a file has that name, or the name of a parent.
        PermissionDenied, ResourceError: as ``explained``.
    """
    missing = [p for p in [path, *path.parents] if not p.exists()]
    for directory in reversed(missing):
        with explained(directory):
            try:
                directory.mkdir(mode=mode)
            except FileExistsError:  # another run was quicker
                continue
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                hand_over(descriptor, Modes(group=group), mode)
            finally:
                os.close(descriptor)
    if not path.is_dir():
        raise _taken(path, "it is not a directory")
    return path


def _taken(path: Path, why: str) -> LockedError:
    return LockedError(
        f"{path} is in the way", why=why, hint=f"ls -ld {shell.word(path)}  (what is it?)"
    )


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError on ``path`` into an error that says what to do.

    Raises:
        PermissionDenied: no right to write there, or a read-only file system.
        ResourceError: no space or quota left.
        LockedError: something else has that name.
        OSError: anything else, as it was.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise PermissionDenied(
                f"cannot write {path}",
                why=str(error),
                hint=f"ls -ld {shell.word(path.parent)}  (who owns it?)",
            ) from error
        if error.errno in _FULL:
            raise ResourceError(
                f"no space left for {path}",
                why=_free(path),
                hint="free some space, then run the same command again",
            ) from error
        if error.errno in _TAKEN:
            raise _taken(path, str(error)) from error
        raise


def _free(path: Path) -> str:
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(place).free
            return f"{free // (1 << 20)} MiB are free on that file system"
    return "the file system is full"


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o600, group: int | None = None) -> Iterator[IO[bytes]]:
    """Give a stream whose content replaces ``path`` in one step when the block ends well.

    Temp file in the same directory, fsync, rename, fsync of the directory; an exception removes
    the temp file and leaves ``path`` as it was. A link at ``path`` is replaced, not followed.

    Raises:
        PermissionDenied, ResourceError, LockedError: as ``explained``.
    """
    with explained(path):
        descriptor, name = tempfile.mkstemp(prefix=TEMP_PREFIX, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                hand_over(stream.fileno(), Modes(group=group), mode)
                sync(stream.fileno())
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        sync_directory(path.parent)


def appending(path: Path) -> IO[bytes]:
    """Open a file to append to, made when absent; a link at ``path`` is refused with OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "ab")


def reading_plain(path: Path) -> IO[bytes]:
    """Open a file to read without following a link and without waiting for a pipe's other end.

    Raises:
        OSError: as open(2) says, ELOOP for a link.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.fdopen(os.open(path, flags), "rb")


def read_at_most(path: Path, most: int) -> bytes:
    """Return what a file or a pipe that somebody named holds; a device may have no end.

    Raises:
        ValueError: it has more than ``most`` bytes.
        OSError: as open(2) and read(2) say.
    """
    with path.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most} bytes")
    return data


def write(path: Path, data: bytes | str, mode: int = 0o600, group: int | None = None) -> None:
    """Replace the content of ``path`` in one step (see ``replacing``)."""
    with replacing(path, mode, group) as stream:
        stream.write(data.encode() if isinstance(data, str) else data)


def is_strangers_link(path: Path) -> bool:
    """Tell whether ``path`` is a link that neither this user nor root made.

    Where a group may write, a member could have put it there to have us remove what it leads to.
    """
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, os.geteuid())


@contextlib.contextmanager
def held(directory: Path) -> Iterator[int]:
    """Open a directory that others may put something else in the place of; gives its descriptor.

    What is done with the descriptor happens in that directory, wherever its name leads meanwhile.
    A link is followed only if this user or root made it.

    Raises:
        OSError: as open(2) says; ELOOP for a stranger's link.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY
    try:
        descriptor = os.open(directory, flags | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        descriptor = os.open(_own_link(directory), flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _own_link(path: Path) -> Path:
    """Return where a link leads that this user or root made.

    Owner and target are read from one open link, so it cannot be exchanged in between.
    """
    if not hasattr(os, "O_PATH"):  # pragma: no cover - not Linux
        if is_strangers_link(path):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        return path
    link = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        status = os.fstat(link)
        if not stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        if status.st_uid not in (0, os.geteuid()):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        return path.parent / os.readlink("", dir_fd=link)
    finally:
        os.close(link)


def sweep(directory: Path) -> None:
    """Remove temp files that a crash left in ``directory``; call it under the directory's lock."""
    for leftover in directory.glob(f"{TEMP_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            leftover.unlink()


def remove_tree(path: Path, parent: int | None = None) -> None:
    """Remove a directory tree without following links and without crossing into a mount.

    A ``path`` that is a link or a file is removed itself; an absent one is no error.

    Args:
        path: what is removed.
        parent: its directory as ``held`` gives it, where others could exchange that.

    Raises:
        LockedError: something is still mounted at or below ``path``; nothing was removed.
        PermissionDenied, ResourceError: as ``explained``.
    """
    name = path if parent is None else Path(path.name)
    with explained(path):
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            return
    for mount in _mounts_below(path.resolve()):
        raise LockedError(
            f"{mount} is still mounted, so {path} was not removed",
            hint=f"umount {shell.word(mount)}, then run the same command again",
        )
    with explained(path):
        for more in reversed(range(_REMOVALS)):
            try:
                # Follows no link, not even one put in the place of a directory meanwhile.
                shutil.rmtree(name, dir_fd=parent)
            except OSError as error:
                # Others remove it too, or what is about to end writes there: on with the rest.
                if error.errno not in (errno.ENOENT, errno.ENOTEMPTY) or not more:
                    raise
            if not _is_there(name, parent):
                return


def _is_there(name: Path, parent: int | None) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _mounts_below(path: Path) -> Iterator[Path]:
    """Yield the mount points at and below ``path``, bind mounts of the same file system too."""
    if _MOUNTS.exists():
        for line in _MOUNTS.read_bytes().splitlines():
            # Field 5 is the mount point; blanks and backslashes in it are octal escapes.
            point = Path(os.fsdecode(line.split()[4].decode("unicode_escape").encode("latin-1")))
            if point.is_relative_to(path):
                yield point
        return
    device = path.stat().st_dev  # pragma: no cover - not Linux
    for root, directories, _files in os.walk(path):  # pragma: no cover - not Linux
        for name in directories:
            status = (Path(root) / name).lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_dev != device:
                yield Path(root) / name
