"""Runs a tuple of steps; knows no step by name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ohmykube.kit import interrupt, parallel
from ohmykube.progress import Status, StepEnded, StepStarted
from ohmykube.steps.base import Expecting, Skippable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.steps.base import Run, Step


def execute(steps: Sequence[Step | tuple[Step, ...]], run: Run) -> None:
    """Run the steps in order; a tuple within the sequence is run side by side.

    A step without a title is bookkeeping: it is not told to the user.

    Stops at the first failure (of a tuple: after all of it has ended, with its first failure,
    which carries the others).
    """
    for entry in steps:
        interrupt.check()
        if isinstance(entry, tuple):
            _together(entry, run)
        else:
            _one(entry, run)


def _together(steps: tuple[Step, ...], run: Run) -> None:
    with ThreadPoolExecutor(max_workers=len(steps)) as pool:
        futures = [pool.submit(_one, step, run) for step in steps]
    parallel.results(futures)


def _one(step: Step, run: Run) -> None:
    reporter, clock = run.services.reporter, run.services.clock
    started = clock.now()

    def ended(status: Status, detail: str) -> None:
        if not step.title:
            return
        reporter.emit(
            StepEnded(
                step=step.name,
                title=step.title,
                status=status,
                seconds=clock.now() - started,
                detail=detail,
            )
        )

    if isinstance(step, Skippable) and (reason := step.skip_reason(run)) is not None:
        ended(Status.SKIPPED, reason)
        return
    expected = step.expect_seconds(run) if isinstance(step, Expecting) else None
    if step.title:
        reporter.emit(StepStarted(step=step.name, title=step.title, expect_seconds=expected))
    try:
        detail = step.run(run)
    except BaseException:
        ended(Status.FAILED, "")
        raise
    ended(Status.OK, detail)
