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
from typing import IO, TYPE_CHECKING, Any

from ohmykube.errors import LockedError, PrerequisiteError
from ohmykube.kit import process
from ohmykube.kit.files import PRIVATE, Modes, ensure_directory, explained, hand_over
from ohmykube.kit.retry import Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOOK_SECONDS = 5.0
"""A look takes microseconds, but a busy machine can make it wait in the middle."""
_BETWEEN_LOOKS = 0.001
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.2
"""Seconds between two tries: most locks are held for milliseconds, some for minutes."""
_CONTENDER = """
import fcntl, sys
with open(sys.argv[1], "r+") as stream:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("excluded")
"""


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
    path: Path,
    what: str,
    *,
    wait_seconds: float = 0.0,
    clock: Clock | None = None,
    modes: Modes = PRIVATE,
) -> Iterator[int]:
    """Hold the lock file ``path`` while the block runs; gives its file descriptor.

    Args:
        path: the lock file; made when absent and never removed.
        what: the thing locked, for the message, such as ``cluster "dev"``.
        wait_seconds: how long to wait for another holder.
        clock: for tests.
        modes: the rights of a lock file that is made.

    Raises:
        LockedError: somebody else holds it; names the holder.
        PermissionDenied: the lock file cannot be made or opened.
    """
    ensure_directory(path.parent, modes.directory, modes.group)
    with open_file(path, modes) as stream:
        if not _acquire_beside_looks(stream, wait_seconds, clock or SystemClock()):
            raise LockedError(
                f"{what} is in use by another run",
                why=_holder(stream),
                hint="wait until it has ended, then run the same command again",
            )
        # The note is a courtesy: a full disk must not keep anybody from cleaning up.
        with contextlib.suppress(OSError):
            os.ftruncate(stream.fileno(), 0)
            os.pwrite(stream.fileno(), _note().encode(), 0)
        yield stream.fileno()


def is_held(stream: IO[Any] | int) -> bool:
    """Tell whether somebody holds the lock of an open file alone (``exclusive``).

    There is no way to ask: for an instant this holds it too, shared, and ``exclusive`` knows that.
    """
    try:
        fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(stream, fcntl.LOCK_UN)
    return False


def _acquire_beside_looks(stream: IO[str], wait_seconds: float, clock: Clock) -> bool:
    """``acquire``, not kept out by who only looks whether the lock is held."""
    end = clock.now() + LOOK_SECONDS
    while not acquire(stream, wait_seconds, clock):
        if is_held(stream) or clock.now() >= end:
            return False
        clock.sleep(_BETWEEN_LOOKS)
    return True


def acquire(stream: IO[str] | int, wait_seconds: float, clock: Clock) -> bool:
    """Take the exclusive flock of an open file or directory; tell whether it succeeded in time."""
    end = clock.now() + wait_seconds
    pause = _FIRST_PAUSE
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.now() >= end:
                return False
            clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return True


def open_file(path: Path, modes: Modes = PRIVATE) -> IO[str]:
    """Open a lock file, made when absent; raises PermissionDenied and such as ``explained``.

    A link is refused: in a directory of a group its members could have us write to, and share with
    them, any file of ours.
    """
    with explained(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, modes.file)
        stream = os.fdopen(descriptor, "r+")
        if modes is not PRIVATE:  # the umask took rights from a file that is new
            hand_over(stream.fileno(), modes)
        return stream


def another_is_kept_out(path: Path) -> bool:
    """Tell whether another process is kept out of the lock file that this one holds."""
    argv = [sys.executable, "-I", "-S", "-c", _CONTENDER, str(path)]
    return process.run(argv, timeout=30.0).stdout.strip() == "excluded"


def probe(
    path: Path, modes: Modes = PRIVATE, excludes: Callable[[Path], bool] = another_is_kept_out
) -> None:
    """Make sure that flock works between two processes where ``path`` is.

    Args:
        path: a lock file for this purpose alone; made when absent.
        modes: the rights of the file.
        excludes: tells whether another process is kept out while this one holds the lock.

    Raises:
        PrerequisiteError: the file system does not support flock, or pretends to.
        PermissionDenied: the lock file cannot be made or opened.
    """
    with open_file(path, modes) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
            why = "" if excludes(path) else "two processes got the same lock"
        except OSError as error:
            why = str(error)
    if why:
        raise PrerequisiteError(
            f"{path.parent} is on a file system where locks (flock) do not work",
            why=why,
            hint="choose a directory on a local file system, or mount this one with locking",
            id="OMK-I-304",
        )
