"""The lock of a cluster, which lives in the directory that it protects."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from ohmykube.errors import LockedError
from ohmykube.kit import files, locks
from ohmykube.state import layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ohmykube.kit.retry import Clock

_ATTEMPTS = 100


class ClusterLocks:
    """Locks held by this process; may be entered again while held."""

    def __init__(self, clock: Clock | None) -> None:
        self._clock = clock
        self._held: dict[str, int] = {}
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def hold(self, name: str, directory: Path, wait_seconds: float) -> Iterator[tuple[int, bool]]:
        """Give the lock's descriptor, and whether this call is the one that took it.

        Raises:
            LockedError: another run holds it.
            PermissionDenied: the directory cannot be written.
        """
        with self._guard:
            held = self._held.get(name)
        if held is not None:
            yield held, False
            return
        with contextlib.ExitStack() as stack:
            descriptor = self._acquire(stack, name, directory / layout.LOCK, wait_seconds)
            with self._guard:
                self._held[name] = descriptor
            try:
                yield descriptor, True
            finally:
                with self._guard:
                    del self._held[name]

    def _acquire(
        self, stack: contextlib.ExitStack, name: str, path: Path, wait_seconds: float
    ) -> int:
        what = f'cluster "{name}"'
        for _attempt in range(_ATTEMPTS):
            with contextlib.ExitStack() as attempt, contextlib.suppress(FileNotFoundError):
                with files.explained(path):
                    descriptor = attempt.enter_context(
                        locks.exclusive(path, what, wait_seconds=wait_seconds, clock=self._clock)
                    )
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    stack.push(attempt.pop_all())
                    return descriptor
                # Else the directory was removed while we waited, and the lock with it: try again.
        raise LockedError(f"{what} is removed again and again by another run", id="OMK-H-306")


def is_held(path: Path) -> bool:
    """Tell whether a run holds the lock file ``path`` now, without getting in anybody's way."""
    try:
        with path.open("rb") as stream:
            return locks.is_held(stream)
    except PermissionError:
        return True  # of another user, whose cluster this is
    except OSError:
        return False


def is_bare(directory: Path) -> bool:
    """Tell whether a cluster directory holds its lock and nothing else."""
    try:
        return [entry.name for entry in directory.iterdir()] == [layout.LOCK]
    except OSError:
        return False
