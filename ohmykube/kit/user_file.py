"""Changes a file that is not ours: what it holds, and never whose it is or who may read it.

Only a rename changes a file in one step, and it puts another file in the place of the old one. So
that one first gets owner, group, mode and extended attributes (among them access control lists).
Where this or the rename is impossible (the file is a mount, has other names, or is somebody else's;
its directory takes no new file), the old one is written over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

from ohmykube.kit import failures, files


def rewrite(path: Path, content: bytes) -> None:
    """Give the file at ``path``, or where a link there leads, another content.

    A file that is not there is made, 0600; made by root, it belongs to the owner of its directory.

    Raises:
        PermissionDenied, ResourceError, LockedError: as ``files.explained``; it is as it was.
    """
    real = Path(os.path.realpath(path))
    with files.explained(real):
        try:
            descriptor = os.open(real, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            _create(real, content)
            return
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileExistsError(errno.EEXIST, "it is not a regular file", str(real))
            if not _replace(real, descriptor, content):
                _overwrite(descriptor, content)
        finally:
            os.close(descriptor)


def read(path: Path, most: int) -> bytes:
    """Return what the regular file at ``path``, or where a link there leads, holds.

    One that is not there holds nothing. A device, a pipe or a directory is refused unread.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        PermissionDenied, ResourceError, LockedError: as ``files.explained``.
        ValueError: it has more than ``most`` bytes.
    """
    with files.explained(path):
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise FileExistsError(errno.EEXIST, "it is not a regular file", str(path))
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
                data = stream.read(most + 1)
        except FileNotFoundError:
            return b""
    if len(data) > most:
        raise ValueError(f"it has more than {most} bytes")
    return data


def ensure_directory(path: Path) -> None:
    """Make a directory, 0700, with its parents; made by root, they belong to the first one's owner.

    Raises:
        PermissionDenied, ResourceError, LockedError: as ``files.explained``.
    """
    missing = [place for place in (path, *path.parents) if not place.exists()]
    files.ensure_directory(path)
    for place in reversed(missing):
        _hand_over(place, place.parent)


def _create(path: Path, content: bytes) -> None:
    ensure_directory(path.parent)
    with files.replacing(path) as stream:
        stream.write(content)
        _hand_over(stream.fileno(), path.parent)


def _hand_over(new: int | Path, parent: Path) -> None:
    """Give to the owner of a directory what root has just made in it."""
    if os.geteuid() == 0:
        owner = parent.stat()
        os.chown(new, owner.st_uid, owner.st_gid)


def _replace(path: Path, old: int, content: bytes) -> bool:
    """Put a file like the open one ``old`` in its place; tell whether that was possible."""
    if os.fstat(old).st_nlink > 1 or not hasattr(os, "listxattr"):
        return False
    temp = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=files.TEMP_PREFIX, dir=path.parent)
        temp = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            _make_alike(old, descriptor)
            files.sync(descriptor)
        temp.replace(path)
    except OSError:
        if temp is not None:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
        return False
    files.sync_directory(path.parent)
    return True


def _make_alike(old: int, new: int) -> None:
    status = os.fstat(old)
    os.fchown(new, status.st_uid, status.st_gid)
    attributes = os.listxattr(old)
    # A new file can have got rights for others from its directory.
    for name in {*os.listxattr(new)} - {*attributes}:
        os.removexattr(new, name)
    for name in attributes:
        os.setxattr(new, name, os.getxattr(old, name))
    os.fchmod(new, stat.S_IMODE(status.st_mode))


def _overwrite(descriptor: int, content: bytes) -> None:
    """Write over an open file; what it grows by comes first, as there may be no space for it."""
    size = os.fstat(descriptor).st_size
    with failures.undoing(lambda: os.ftruncate(descriptor, size)):
        _write(descriptor, content[size:], size)
        files.sync(descriptor)
    _write(descriptor, content[:size], 0)
    os.ftruncate(descriptor, len(content))
    files.sync(descriptor)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        done = os.pwrite(descriptor, data, offset)
        data, offset = data[done:], offset + done
