"""Writing files so that a crash leaves the old or the new content, never a torn one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ohmykube.errors import LockedError, PermissionDenied, ResourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMP_PREFIX = ".omk-tmp-"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TAKEN = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EBUSY)
_MOUNTS = Path("/proc/self/mountinfo")


def _sync(descriptor: int) -> None:
    # On macOS fsync alone does not reach the disk (fcntl(2) F_FULLFSYNC).
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:  # pragma: no cover - macOS only
        fcntl.fcntl(descriptor, full)
    else:
        os.fsync(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of the file ``path`` durable."""
    with path.open("rb") as stream:
        _sync(stream.fileno())


def sync_directory(path: Path) -> None:
    """Make a rename or unlink in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ensure_directory(path: Path, mode: int = 0o700) -> Path:
    """Create ``path`` with parents, each new one with ``mode``; return it.

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
            directory.chmod(mode)
    if not path.is_dir():
        raise _taken(path, "it is not a directory")
    return path


def _taken(path: Path, why: str) -> LockedError:
    return LockedError(f"{path} is in the way", why=why, hint=f"ls -ld {path}  (what is it?)")


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
                f"cannot write {path}", why=str(error), hint=f"ls -ld {path.parent}  (who owns it?)"
            ) from error
        if error.errno in _FULL:
            free = shutil.disk_usage(_existing(path)).free
            raise ResourceError(
                f"no space left for {path}",
                why=f"{free // (1 << 20)} MiB are free on that file system",
                hint="free some space, then run the same command again",
            ) from error
        if error.errno in _TAKEN:
            raise _taken(path, str(error)) from error
        raise


def _existing(path: Path) -> Path:
    return next(p for p in [path, *path.parents] if p.exists())


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
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
                os.fchmod(stream.fileno(), mode)
                _sync(stream.fileno())
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        sync_directory(path.parent)


def write(path: Path, data: bytes | str, mode: int = 0o600) -> None:
    """Replace the content of ``path`` in one step (see ``replacing``)."""
    with replacing(path, mode) as stream:
        stream.write(data.encode() if isinstance(data, str) else data)


def sweep(directory: Path) -> None:
    """Remove temp files that a crash left in ``directory``; call it under the directory's lock."""
    for leftover in directory.glob(f"{TEMP_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            leftover.unlink()


def remove_tree(path: Path) -> None:
    """Remove a directory tree without following links and without crossing into a mount.

    A ``path`` that is a link or a file is removed itself; an absent one is no error.

    Raises:
        LockedError: something is still mounted at or below ``path``; nothing was removed.
        PermissionDenied, ResourceError: as ``explained``.
    """
    if path.is_symlink() or path.is_file():
        with explained(path):
            path.unlink(missing_ok=True)
        return
    if not path.exists():
        return
    for mount in _mounts_below(path.resolve()):
        raise LockedError(
            f"{mount} is still mounted, so {path} was not removed",
            hint=f"umount {mount}, then run the same command again",
        )
    with explained(path):
        shutil.rmtree(path)


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
