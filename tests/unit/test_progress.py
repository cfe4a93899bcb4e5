from __future__ import annotations

import dataclasses
import typing

import pytest

from ohmykube import progress
from ohmykube.progress import ItemProgress, Message, NodeProgress, Status, StepEnded, StepStarted

EVENTS = [
    StepStarted(step="s", title="S"),
    StepEnded(step="s", title="S", status=Status.OK, seconds=1.0),
    NodeProgress(node="n", activity="joins"),
    ItemProgress(item="i", activity="fetches", done=1, total=2, unit="bytes"),
    Message(text="hello"),
]


class Recorder:
    def __init__(self) -> None:
        self.events: list[progress.Event] = []

    def emit(self, event: progress.Event) -> None:
        self.events.append(event)


def test_the_union_names_every_event() -> None:
    assert set(typing.get_args(progress.Event)) == {type(event) for event in EVENTS}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_are_frozen_values(event: progress.Event) -> None:
    field = dataclasses.fields(event)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, field, "other")
    assert dataclasses.replace(event) == event


def test_statuses_read_as_words() -> None:
    assert [str(status) for status in Status] == ["ok", "changed", "skipped", "failed"]


def test_an_item_is_under_way_and_then_ok() -> None:
    recorder = Recorder()
    with progress.item(recorder, "kubelet", "builds"):
        assert recorder.events == [ItemProgress(item="kubelet", activity="builds")]
    assert recorder.events[1:] == [
        ItemProgress(item="kubelet", activity="builds", status=Status.OK)
    ]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_item_that_raises_has_failed(error: type[BaseException]) -> None:
    recorder = Recorder()
    with pytest.raises(error), progress.item(recorder, "kubelet", "builds"):
        raise error
    last = recorder.events[-1]
    assert isinstance(last, ItemProgress)
    assert last.status is Status.FAILED


def test_the_null_reporter_takes_everything() -> None:
    for event in EVENTS:
        progress.NullReporter().emit(event)
