"""flock on a file, with a note of who holds it for the error message.

A lock is free at once when its holder dies, whatever the way (faults H03, H07).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import getpass
import json
import os
import socket
import sys
from typing import IO, TYPE_CHECKING

from ohmykube.errors import LockedError
from ohmykube.kit.files import ensure_directory, explained
from ohmykube.kit.retry import Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _note() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return json.dumps(
        {
            "pid": os.getpid(),
            "user": user,
            "host": socket.gethostname(),
            "command": " ".join(sys.argv)[:200],
            "since": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        }
    )


def _holder(stream: IO[str]) -> str:
    stream.seek(0)
    try:
        note = json.loads(stream.read())
        return f"pid {note['pid']} of {note['user']}, since {note['since']}: {note['command']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


@contextlib.contextmanager
def exclusive(
    path: Path, what: str, *, wait_seconds: float = 0.0, clock: Clock | None = None
) -> Iterator[int]:
    """Hold the lock file ``path`` while the block runs; gives its file descriptor.

    Args:
        path: the lock file; made when absent and never removed.
        what: the thing locked, for the message, such as ``cluster "dev"``.
        wait_seconds: how long to wait for another holder.
        clock: for tests.

    Raises:
        LockedError: somebody else holds it; names the holder.
        PermissionDenied: the lock file cannot be made or opened.
    """
    clock = clock or SystemClock()
    ensure_directory(path.parent)
    end = clock.now() + wait_seconds
    with explained(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if clock.now() >= end:
                    raise LockedError(
                        f"{what} is in use by another run",
                        why=_holder(stream),
                        hint="wait until it has ended, then run the same command again",
                    ) from None
                clock.sleep(0.2)
        # The note is a courtesy: a full disk must not keep anybody from cleaning up.
        with contextlib.suppress(OSError):
            os.ftruncate(stream.fileno(), 0)
            os.pwrite(stream.fileno(), _note().encode(), 0)
        yield stream.fileno()
