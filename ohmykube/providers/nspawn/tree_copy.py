"""Copies of directory trees that take almost no disk space: reflinks, else hard links.

Where the file system can (btrfs, xfs), a copy shares the blocks of its source until one of the two
is written. Elsewhere a file that is never written in place becomes a hard link: removing or
replacing one name leaves the others. The caller says which files are like that.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.kit import files

if TYPE_CHECKING:
    from collections.abc import Callable

_FICLONE = 0x40049409
"""ioctl_ficlone(2)."""
_NEVER_REFLINKS = (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS)
_NO_REFLINK = (*_NEVER_REFLINKS, errno.EINVAL, errno.EXDEV)
_UNLINKABLE = (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP)
"""Too many links, another file system, a file system without hard links: the bytes are copied."""


def copy_tree(source: Path, target: Path, shared: Callable[[Path], bool]) -> None:
    """Make ``target``, which must not exist, a copy of the directory ``source``.

    Owners, modes, times and extended attributes are kept (overlayfs keeps opaque directories in
    them), links and devices too (whiteouts are devices). Everything lies in ``target`` in one step.

    Args:
        source: the tree.
        target: the new tree, on the same file system for links to work.
        shared: tells for a path below ``source``, relative to it, whether the file is never
            written in place; such a file may be hard-linked.

    Raises:
        ResourceError, PermissionDenied: as ``kit.files.explained``.
        FileNotFoundError: ``source`` went away meanwhile.
    """
    temporary = target.with_name(f"{target.name}.new")
    files.remove_tree(temporary)
    with files.explained(target):
        _Copier(shared).directory(source, temporary, Path())
        temporary.rename(target)


class _Copier:
    def __init__(self, shared: Callable[[Path], bool]) -> None:
        self._shared = shared
        self._reflinks = True
        """Whether the file system may share blocks; the first file tells when it cannot."""

    def directory(self, source: Path, target: Path, relative: Path) -> None:
        target.mkdir(mode=0o700)
        with os.scandir(source) as entries:
            for entry in entries:
                below = relative / entry.name
                here = target / entry.name
                if entry.is_dir(follow_symlinks=False):
                    self.directory(Path(entry.path), here, below)
                elif self._reflinked(entry, here):
                    _copy_status(Path(entry.path), here)
                elif not (self._shared(below) and _linked(entry.path, here)):
                    _copy_file(Path(entry.path), here)
        # Last: making the entries above has changed the directory's times.
        _copy_status(source, target)

    def _reflinked(self, entry: os.DirEntry[str], target: Path) -> bool:
        """Make a file of its own that shares all blocks; tell whether that was possible."""
        if not (self._reflinks and entry.is_file(follow_symlinks=False) and entry.stat().st_size):
            return False
        with Path(entry.path).open("rb") as source, target.open("xb") as copy:
            try:
                fcntl.ioctl(copy, _FICLONE, source.fileno())
            except OSError as error:
                if error.errno not in _NO_REFLINK:
                    raise
                self._reflinks = error.errno not in _NEVER_REFLINKS
            else:
                return True
        target.unlink(missing_ok=True)
        return False


def _linked(source: str, target: Path) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _UNLINKABLE:
            return False
        raise
    return True


def _copy_file(source: Path, target: Path) -> None:
    status = source.lstat()
    if stat.S_ISREG(status.st_mode):
        shutil.copyfile(source, target, follow_symlinks=False)
    elif stat.S_ISLNK(status.st_mode):
        target.symlink_to(source.readlink())
    elif stat.S_ISSOCK(status.st_mode):
        return  # belongs to a process that has ended
    else:
        os.mknod(target, status.st_mode, status.st_rdev)
    _copy_status(source, target)


def _copy_status(source: Path, target: Path) -> None:
    status = source.lstat()
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    shutil.copystat(source, target, follow_symlinks=False)


def size(root: Path) -> int:
    """Return how many bytes of disk a tree takes that no other tree shares with it.

    A file with several names counts only when all of them are below ``root``.
    """
    found: dict[tuple[int, int], list[int]] = {}
    total = 0
    for directory, _names, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                status = (Path(directory) / name).lstat()
                if status.st_nlink == 1:
                    total += status.st_blocks * 512
                    continue
                seen = found.setdefault((status.st_dev, status.st_ino), [0, 0, 0])
                seen[0] += 1
                seen[1:] = [status.st_nlink, status.st_blocks * 512]
    return total + sum(blocks for seen, links, blocks in found.values() if seen == links)
