"""Rates and times left, by a clock that the test moves."""

from __future__ import annotations

import io
import json

import pytest

from ohmykube.progress import ItemProgress, Status, StepStarted
from ohmykube.ui.console import ErrorStream
from ohmykube.ui.jsonl import JsonReporter
from ohmykube.ui.plain import PlainReporter
from ohmykube.ui.transfer_rate import TransferRate, TransferRates, amount


def event(done: int | None, total: int | None = 100_000_000, **more: object) -> ItemProgress:
    fields = {"item": "a", "activity": "x", "unit": "bytes", **more}
    return ItemProgress(done=done, total=total, **fields)  # type: ignore[arg-type]


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rates = TransferRates()
    assert rates.note(event(0), 0.0) == TransferRate()
    assert rates.note(event(1_000), 0.4) == TransferRate()
    assert rates.note(event(20_000_000), 2.0) == TransferRate(1e7, 8.0)
    for second in range(3, 20):
        rates.note(event(20_000_000), float(second))
    assert rates.note(event(30_000_000), 20.0).rate == pytest.approx(1e6)


def test_no_rate_without_bytes_and_no_end_without_a_total() -> None:
    rates = TransferRates()
    assert rates.note(event(1, unit=""), 0.0) == TransferRate()
    rates.note(event(0, None), 0.0)
    assert rates.note(event(5_000, None), 5.0) == TransferRate(1000.0)
    stalled = TransferRates()
    stalled.note(event(5), 0.0)
    assert stalled.note(event(5), 5.0) == TransferRate(0.0)


def test_what_begins_anew_or_has_ended_starts_from_nothing() -> None:
    rates = TransferRates()
    rates.note(event(50), 0.0)
    assert rates.note(event(10), 5.0) == TransferRate()
    assert rates.note(event(60), 10.0) == TransferRate(10.0, 9_999_994.0)
    assert rates.note(event(60, status=Status.OK), 11.0) == TransferRate()
    assert rates.note(event(60), 12.0) == TransferRate()


def test_amounts_are_short() -> None:
    assert amount(event(None), TransferRate()) == ""
    assert amount(event(2, 5, unit=""), TransferRate()) == "2/5"
    assert amount(event(7, None, unit=""), TransferRate()) == "7"
    assert amount(event(2_000_000, None), TransferRate(1e6)) == "1.9 MiB, 976.6 KiB/s"
    assert (
        amount(event(20_000_000), TransferRate(1e7, 8.0))
        == "19.1 of 95.4 MiB, 9.5 MiB/s, 8.0s left"
    )
    assert amount(event(900), TransferRate()) == "900 B of 95.4 MiB"


def test_plain_lines_tell_how_far_it_is() -> None:
    stream, now = io.StringIO(), [0.0]
    reporter = PlainReporter(ErrorStream(stream), now=lambda: now[0])
    reporter.emit(StepStarted(step="s", title="Hash"))
    reporter.emit(event(0))
    now[0] = 31.0
    reporter.emit(event(31_000_000))
    reporter.tick()
    reporter.close()
    assert "a x 29.6 of 95.4 MiB, 976.6 KiB/s, 1m09s left" in stream.getvalue()


def test_json_lines_have_rate_and_time_left() -> None:
    stream = io.StringIO()
    reporter = JsonReporter(ErrorStream(stream))
    reporter.emit(event(0))
    reporter.emit(event(5, status=Status.OK))
    items = [json.loads(line) for line in stream.getvalue().splitlines()][1:]
    assert [(i["done"], i["bytesPerSecond"], i["secondsLeft"]) for i in items] == [
        (0, None, None),
        (5, None, None),
    ]
