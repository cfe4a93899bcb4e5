"""A clock on which waiting takes no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeClock:
    """Time passes only by waiting; something may happen meanwhile."""

    def __init__(self, time: float = 0.0, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.time = time
        self.sleeps: list[float] = []
        self.meanwhile = meanwhile

    def now(self) -> float:
        """Return the seconds that have passed."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let them pass."""
        self.sleeps.append(seconds)
        self.time += seconds
        self.meanwhile()
