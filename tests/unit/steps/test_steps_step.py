"""What a step tells, and when."""

from __future__ import annotations

import pytest

from ohmykube.errors import Interrupted, NodeError
from ohmykube.kit import interrupt, paths
from ohmykube.progress import Message, Status, StepEnded, StepStarted
from ohmykube.steps.context import Services
from ohmykube.steps.step import Step, WithinStep
from ohmykube.testing.reporter import RecordingReporter
from tests.fake_clock import FakeClock

FIRST, SECOND = Step("first", "First"), Step("second", "Second")


@pytest.fixture
def reporter() -> RecordingReporter:
    return RecordingReporter()


@pytest.fixture
def services(reporter: RecordingReporter) -> Services:
    return Services(paths=paths.from_environment(), reporter=reporter, clock=FakeClock())


def told(reporter: RecordingReporter) -> list[tuple[str, str]]:
    words = []
    for event in reporter.events:
        if isinstance(event, StepStarted):
            words.append((event.step, "started"))
        elif isinstance(event, StepEnded):
            words.append((event.step, str(event.status)))
    return words


def test_beginning_and_end_are_told(services: Services, reporter: RecordingReporter) -> None:
    with FIRST.running(services, expect_seconds=60) as result:
        services.clock.sleep(3)
        result.detail = "2 made"
    assert list(reporter.events) == [
        StepStarted(step="first", title="First", expect_seconds=60),
        StepEnded(step="first", title="First", status=Status.OK, seconds=3, detail="2 made"),
    ]


def test_steps_follow_each_other(services: Services, reporter: RecordingReporter) -> None:
    for step in (FIRST, SECOND):
        with step.running(services):
            pass
    assert told(reporter) == [
        ("first", "started"), ("first", "ok"), ("second", "started"), ("second", "ok")
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [NodeError, ValueError, Interrupted])
def test_whatever_ends_a_step_is_told_and_goes_on(
    services: Services, reporter: RecordingReporter, kind: type[BaseException]
) -> None:
    def work() -> None:
        with FIRST.running(services) as result:
            result.detail = "never told"
            services.clock.sleep(2)
            raise kind("no")

    with pytest.raises(kind):
        work()
    (ended,) = reporter.of(StepEnded)
    why = "no" if kind is NodeError else ""
    assert (ended.status, ended.seconds, ended.detail) == (Status.FAILED, 2, why)


def test_a_skipped_step_says_why(services: Services, reporter: RecordingReporter) -> None:
    FIRST.skipped(services, "not needed")
    assert list(reporter.events) == [
        StepEnded(
            step="first", title="First", status=Status.SKIPPED, seconds=0, detail="not needed"
        )
    ]


def test_a_stop_is_seen_between_steps(services: Services, reporter: RecordingReporter) -> None:
    with FIRST.running(services):
        interrupt.requested.set()
    with pytest.raises(Interrupted), SECOND.running(services):
        pytest.fail("ran after a stop")
    with pytest.raises(Interrupted):
        SECOND.skipped(services, "not needed")
    assert told(reporter) == [("first", "started"), ("first", "ok")]


def test_of_steps_within_a_step_only_their_work_is_told(
    services: Services, reporter: RecordingReporter
) -> None:
    inner = Services(paths=services.paths, reporter=WithinStep(reporter))
    with FIRST.running(services), SECOND.running(inner):
        inner.reporter.emit(Message(text="half way"))
    SECOND.skipped(inner, "not needed")
    assert told(reporter) == [("first", "started"), ("first", "ok")]
    assert [message.text for message in reporter.of(Message)] == ["half way"]
