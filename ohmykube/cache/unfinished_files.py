"""Unfinished files in ``ingest/``: those on their way into the store, and what a crash left."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING

from ohmykube.errors import LockedError
from ohmykube.kit import files, shell

if TYPE_CHECKING:
    from pathlib import Path

PUT_PREFIX = "put-"
"""Files of a put in progress; their writer holds a flock on them."""
PART_SUFFIX = ".part"
"""Partial downloads, which a later run continues."""
DAY_SECONDS = 24 * 3600
_YOUNG_SECONDS = 60
"""Younger files may be between their creation and their lock."""


def leftovers(directory: Path, older_than: float = DAY_SECONDS) -> list[Path]:
    """Return abandoned files, sorted.

    A file of a put counts when its writer is dead, anything else when it was not touched for
    ``older_than`` seconds.
    """
    found = []
    for entry in entries(directory):
        with contextlib.suppress(FileNotFoundError):  # finished meanwhile
            if entry.stat().st_mtime < time.time() - older_than or _abandoned(entry):
                found.append(entry)
    return found


def entries(directory: Path) -> list[Path]:
    """Return what is in a directory of the cache, sorted; nothing behind a stranger's link."""
    if files.is_strangers_link(directory) or not directory.is_dir():
        return []
    return sorted(directory.iterdir())


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a directory; links are not followed."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(size_of(entry) for entry in path.iterdir())
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def remove(path: Path) -> int:
    """Remove a file or a directory if it is there and return the bytes freed.

    Raises:
        PermissionDenied: this user may not.
        LockedError: something is mounted below it, or its directory has become a stranger's link.
    """
    try:
        # Of a shared cache a member can exchange the directory at any moment.
        with files.held(path.parent) as parent:
            size = size_of(path)
            files.remove_tree(path, parent)
            return size
    except FileNotFoundError:
        return 0
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise LockedError(
            f"{path.parent} is a link that another user made, so nothing in it is removed",
            hint=f"ls -ld {shell.word(path.parent)}  (whose is it?)",
            id="OMK-I-311",
        ) from error


def _abandoned(path: Path) -> bool:
    if not path.name.startswith(PUT_PREFIX) or path.stat().st_mtime > time.time() - _YOUNG_SECONDS:
        return False
    # Another user's, a link or a pipe: its age alone tells.
    if not (os.access(path, os.R_OK) and stat.S_ISREG(path.lstat().st_mode)):
        return False
    with files.reading_plain(path) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
