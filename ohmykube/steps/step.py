"""How a step tells that it begins and how it ended."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.kit import interrupt
from ohmykube.progress import Status, StepEnded, StepStarted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.progress import Event, Reporter
    from ohmykube.steps.context import Services


@dataclass(slots=True)
class Result:
    """What the summary line of a step says once it has ended well."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of what a command does."""

    name: str
    """Stable id, such as ``create-nodes``."""
    title: str
    """For people."""

    @contextlib.contextmanager
    def running(
        self, services: Services, *, expect_seconds: float | None = None
    ) -> Iterator[Result]:
        """Tell the beginning and the end of the block, which may set the detail.

        Args:
            services: who is told, and the clock.
            expect_seconds: rough duration of what can take long.

        Raises:
            Interrupted: a stop was asked for before it began.
        """
        interrupt.check()
        started = services.clock.now()
        services.reporter.emit(
            StepStarted(step=self.name, title=self.title, expect_seconds=expect_seconds)
        )
        result = Result()
        try:
            yield result
        except BaseException as error:
            # At once: what is done beside it can take minutes, and only then the error is told.
            reason = error.message if isinstance(error, OhmykubeError) else ""
            self._ended(services, Status.FAILED, services.clock.now() - started, reason)
            raise
        self._ended(services, Status.OK, services.clock.now() - started, result.detail)

    def skipped(self, services: Services, reason: str) -> None:
        """Tell that there is nothing to do, and why; raises Interrupted as ``running``."""
        interrupt.check()
        self._ended(services, Status.SKIPPED, 0.0, reason)

    def _ended(self, services: Services, status: Status, seconds: float, detail: str = "") -> None:
        services.reporter.emit(
            StepEnded(
                step=self.name, title=self.title, status=status, seconds=seconds, detail=detail
            )
        )


@dataclass(frozen=True, slots=True)
class WithinStep:
    """A reporter for steps that are done within another one: only that one is told as a step."""

    reporter: Reporter

    def emit(self, event: Event) -> None:
        """Hand on everything but the beginning and the end of steps."""
        if not isinstance(event, StepStarted | StepEnded):
            self.reporter.emit(event)
