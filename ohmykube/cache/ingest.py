"""Files on their way into the store, and what a crash leaves of them."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PUT_PREFIX = "put-"
"""Files of a put in progress; their writer holds a flock on them."""
PART_SUFFIX = ".part"
"""Partial downloads, which a later run continues."""
DAY_SECONDS = 24 * 3600
_YOUNG_SECONDS = 60
"""Younger files may be between their creation and their lock."""


def sweep(directory: Path) -> int:
    """Remove abandoned files and return the bytes freed.

    A file of a put goes when its writer is dead, anything else when it is a day old.
    """
    freed = 0
    for entry in directory.iterdir() if directory.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat()
            if status.st_mtime < time.time() - DAY_SECONDS or _abandoned(entry):
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink()
                freed += status.st_size
    return freed


def _abandoned(path: Path) -> bool:
    if not path.name.startswith(PUT_PREFIX) or path.stat().st_mtime > time.time() - _YOUNG_SECONDS:
        return False
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
