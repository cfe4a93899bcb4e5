"""Waiting: the only place that sleeps, with a clock that tests can replace."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from ohmykube.errors import TimeoutExceeded
from ohmykube.kit import interrupt

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Clock(Protocol):
    """Monotonic seconds and a sleep."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The real clock; ``sleep`` ends early with ``Interrupted`` once a stop was asked for."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until the run is interrupted."""
        if interrupt.requested.wait(seconds):
            raise interrupt.interrupted()


SLOW_REST = 2.0
"""The least ``Wait.rest`` for what is slow: questions then take a third of its time at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How long to try and how often, in seconds."""

    seconds: float
    every: float = 0.3
    factor: float = 1.0
    longest: float = 5.0
    rest: float = 0.0
    """How many times as long as a call took nothing is asked after it, at least: who is slow to
    answer is not kept from its work."""

    def times(self, number: float) -> Wait:
        """Return the same for what is so many times slower: asking costs that much more, too."""
        if number <= 1:
            return self
        return replace(
            self,
            rest=max(self.rest, SLOW_REST),
            seconds=self.seconds * number,
            every=self.every * number,
            longest=self.longest * number,
        )


def until(clock: Clock, wait: Wait, what: str, probe: Callable[[], T | None]) -> T:
    """Call ``probe`` until it returns something that is not None; the last call is at the deadline.

    Raises:
        TimeoutExceeded: ``wait.seconds`` passed; ``what`` is in the message.
    """
    end = clock.now() + wait.seconds
    pause = wait.every
    while True:
        began = clock.now()
        result = probe()
        if result is not None:
            return result
        now = clock.now()
        left = end - now
        if left < 0.001:  # below a clock's resolution a sleep would change nothing
            raise TimeoutExceeded(f"gave up waiting for {what} after {wait.seconds:g} s")
        clock.sleep(min(max(pause, wait.rest * (now - began)), left))
        pause = min(pause * wait.factor, wait.longest)
