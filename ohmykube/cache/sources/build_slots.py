"""Limits builds to as many at once as processors and memory allow."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.kit import interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMINFO = Path("/proc/meminfo")
_UNKNOWN_GIB = 4.0
_LOOK_SECONDS = 0.5


def available_gib(meminfo: Path = _MEMINFO) -> float:
    """Return the available memory in GiB; a careful guess where it is not known."""
    try:
        found = re.search(r"^MemAvailable:\s+([0-9]+) kB", meminfo.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) / (1 << 20) if found else _UNKNOWN_GIB


class BuildSlots:
    """Counts running builds and their memory; one alone may always run."""

    def __init__(self, memory_gib: float | None = None, jobs: int | None = None) -> None:
        self._memory = available_gib() if memory_gib is None else memory_gib
        self._jobs = max(1, os.cpu_count() or 1) if jobs is None else jobs
        self._running = 0
        self._used = 0.0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def reserve(self, gib: float) -> Iterator[None]:
        """Run the block once there is room for ``gib``; raises Interrupted while it waits."""
        with self._changed:
            while self._running and (
                self._running >= self._jobs or self._used + gib > self._memory
            ):
                interrupt.check()
                self._changed.wait(_LOOK_SECONDS)
            interrupt.check()
            self._running += 1
            self._used += gib
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._used -= gib
                self._changed.notify_all()
