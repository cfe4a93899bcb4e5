"""The engine runs what it is given, in order, and says so."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import Interrupted, NodeError
from ohmykube.kit import failures, interrupt
from ohmykube.progress import Status, StepEnded, StepStarted
from ohmykube.steps import engine
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.steps.base import Run


class Simple:
    def __init__(self, name: str, act: Callable[[], str]) -> None:
        self.name = name
        self.title = name.title()
        self.act = act

    def run(self, run: Run) -> str:
        return self.act()


class Skipped(Simple):
    def skip_reason(self, run: Run) -> str | None:
        return "not needed"


class Long(Simple):
    def expect_seconds(self, run: Run) -> float | None:
        return 60.0


def told(run: Run) -> list[tuple[str, str]]:
    reporter = run.services.reporter
    assert isinstance(reporter, RecordingReporter)
    words = []
    for event in reporter.events:
        if isinstance(event, StepStarted):
            words.append((event.step, "started"))
        elif isinstance(event, StepEnded):
            words.append((event.step, str(event.status)))
    return words


def test_steps_follow_each_other(run: Run) -> None:
    done: list[str] = []
    steps = [Simple(name, lambda name=name: done.append(name) or "") for name in ("a", "b")]
    engine.execute(steps, run)
    assert done == ["a", "b"]
    assert told(run) == [("a", "started"), ("a", "ok"), ("b", "started"), ("b", "ok")]


def test_a_failure_ends_the_run_and_is_told(run: Run) -> None:
    def fail() -> str:
        raise NodeError("no")

    never = Simple("never", lambda: pytest.fail("ran after a failure"))
    with pytest.raises(NodeError):
        engine.execute([Simple("bad", fail), never], run)
    assert told(run) == [("bad", "started"), ("bad", "failed")]


def test_a_skipped_step_says_why(run: Run) -> None:
    engine.execute([Skipped("idle", lambda: pytest.fail("must not run"))], run)
    reporter = run.services.reporter
    assert isinstance(reporter, RecordingReporter)
    (ended,) = reporter.of(StepEnded)
    assert (ended.status, ended.detail) == (Status.SKIPPED, "not needed")


def test_a_long_step_says_so_beforehand(run: Run) -> None:
    engine.execute([Long("slow", lambda: "")], run)
    reporter = run.services.reporter
    assert isinstance(reporter, RecordingReporter)
    (started,) = reporter.of(StepStarted)
    assert started.expect_seconds == 60.0


def test_a_tuple_runs_side_by_side(run: Run) -> None:
    meet = threading.Barrier(2, timeout=10)
    pair = tuple(Simple(name, lambda: str(meet.wait()) and "") for name in ("left", "right"))
    engine.execute([pair], run)
    assert {name for name, _ in told(run)} == {"left", "right"}


def test_of_a_tuple_all_are_tried_and_the_first_failure_counts(run: Run) -> None:
    done = threading.Event()

    def fail() -> str:
        raise NodeError("left failed")

    def slow() -> str:
        done.set()
        return ""

    with pytest.raises(NodeError, match="left failed"):
        engine.execute([(Simple("left", fail), Simple("right", slow))], run)
    assert done.is_set()


def test_of_a_tuple_every_failure_is_told(run: Run) -> None:
    def fail(text: str) -> Callable[[], str]:
        def act() -> str:
            raise NodeError(text)

        return act

    with pytest.raises(NodeError) as caught:
        engine.execute([(Simple("left", fail("disk full")), Simple("right", fail("no key")))], run)
    assert caught.value.message == "disk full"
    assert [str(one) for one in failures.others(caught.value)] == ["no key"]


def test_a_stop_is_seen_between_steps(run: Run) -> None:
    def ask() -> str:
        interrupt.requested.set()
        return ""

    with pytest.raises(Interrupted):
        engine.execute([Simple("a", ask), Simple("b", lambda: pytest.fail("ran"))], run)
