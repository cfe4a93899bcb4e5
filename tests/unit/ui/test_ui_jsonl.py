"""Progress as JSON lines."""

from __future__ import annotations

import io
import json

from ohmykube.progress import Message
from ohmykube.ui.console import ErrorStream
from ohmykube.ui.jsonl import JsonReporter
from tests.data.cli.fake_cli import script


def _lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_first_version_last_result() -> None:
    stream = io.StringIO()
    reporter = JsonReporter(ErrorStream(stream))
    script(reporter.emit, lambda _beats: None)
    reporter.result({"kind": "UpResult"})
    reporter.result({"kind": "Again"})
    reporter.error({"id": "late"})
    reporter.emit(Message(text="too late"))
    reporter.close()
    lines = _lines(stream)
    assert lines[0]["type"] == "version"
    assert lines[0]["ui"] == "1.2"
    assert lines[-1]["type"] == "result"
    assert [line["type"] for line in lines].count("result") == 1
    assert {line["type"] for line in lines} == {
        "version", "step_started", "step_ended", "node", "item", "message", "result",
    }  # fmt: skip
    assert all(line["time"].endswith("+00:00") for line in lines)
    packing = next(line for line in lines if line.get("activity") == "packing")
    assert (packing["done"], packing["total"], packing["unit"]) == (20_000_000, 30_000_000, "bytes")
    assert not any(line.get("level") == "debug" for line in lines)


def test_verbose_has_debug_messages() -> None:
    stream = io.StringIO()
    reporter = JsonReporter(ErrorStream(stream), verbosity=1)
    reporter.emit(Message(text="x\x1b[2J", level="debug", fields={"a": "b\x00"}))
    assert _lines(stream)[1]["text"] == "x"
    assert _lines(stream)[1]["fields"] == {"a": "b"}


def test_stopping_and_the_last_word() -> None:
    stream = io.StringIO()
    reporter = JsonReporter(ErrorStream(stream))
    reporter.stopping()
    reporter.ended({"id": "OMK-U-130"})
    reporter.error({"id": "second"})
    lines = _lines(stream)
    assert [line["type"] for line in lines] == ["version", "message", "error"]
    assert lines[-1]["error"] == {"id": "OMK-U-130"}
