"""Leases: blobs that a running program needs, kept from ``prune`` while its process lives.

A lease is a file that its process holds an flock on: the kernel ends the lease with the process,
whatever the way, and a reused pid or a restarted host cannot keep a dead one alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.kit import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ohmykube.cache.layout import Layout

_SUFFIX = ".lease"
_YOUNG_SECONDS = 60.0
"""Younger files may be between their creation and their lock."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who needs what."""

    owner: str
    pid: int
    since: float
    """Unix time."""
    digests: frozenset[str]


class Leases:
    """The leases below ``leases/``."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @contextlib.contextmanager
    def hold(self, owner: str, digests: Iterable[str]) -> Iterator[None]:
        """See ``Store.lease``."""
        directory = self._layout.make(self._layout.leases)
        with files.explained(directory):
            descriptor, name = tempfile.mkstemp(prefix=".new-", dir=directory)
        path = Path(name)
        with os.fdopen(descriptor, "w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX)
                files.hand_over(stream.fileno(), self._layout.modes)
                note = {"owner": owner, "pid": os.getpid(), "since": time.time()}
                with files.explained(path):
                    stream.write(json.dumps({**note, "digests": sorted(set(digests))}))
                    stream.flush()
                # Only now it can be seen: never a lease without its lock.
                path = path.rename(path.with_name(f"{os.getpid()}-{path.name[5:]}{_SUFFIX}"))
                yield
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()

    def living(self) -> tuple[Lease, ...]:
        """Return the leases of living processes, oldest first; removes the files of the dead.

        Raises:
            PermissionDenied: another user's lease cannot be read.
        """
        directory = self._layout.leases
        found = []
        with self._layout.reading():
            for path in sorted(directory.iterdir()) if directory.is_dir() else ():
                with contextlib.suppress(FileNotFoundError):  # ended meanwhile
                    lease = _look(path)
                    if lease is not None:
                        found.append(lease)
        return tuple(sorted(found, key=lambda lease: lease.since))


def _look(path: Path) -> Lease | None:
    if not stat.S_ISREG(path.lstat().st_mode):  # a link or a pipe is nobody's lease
        return None
    with files.reading_plain(path) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if path.suffix != _SUFFIX:  # its process is just writing it
                return None
            note = json.loads(stream.read())
            pid, since = int(note["pid"]), float(note["since"])
            return Lease(str(note["owner"]), pid, since, frozenset(note["digests"]))
        if path.suffix == _SUFFIX or path.stat().st_mtime < time.time() - _YOUNG_SECONDS:
            path.unlink(missing_ok=True)
    return None
