"""Progress as JSON lines for programs.

The first line has type ``version``; then ``step_started``, ``step_ended``, ``node``, ``item`` and
``message`` in any order; the last line is exactly one ``result`` or ``error``. Readers must ignore
types and fields they do not know.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from typing import TYPE_CHECKING, Any

from ohmykube import __version__
from ohmykube.progress import ItemProgress, Message, NodeProgress, StepEnded, StepStarted
from ohmykube.ui.console import clean
from ohmykube.ui.transfer_rate import TransferRates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.progress import Event
    from ohmykube.ui.console import ErrorStream

UI_VERSION = "1.2"
"""Major: something was taken away or changed its meaning. Minor: something was added."""


class JsonReporter:
    """Writes one JSON object per line."""

    def __init__(self, stderr: ErrorStream, *, verbosity: int = 0) -> None:
        self._stderr = stderr
        self._verbosity = verbosity
        self._lock = threading.RLock()
        self._over = False
        self._rates = TransferRates()
        self._line("version", ui=UI_VERSION, tool="ohmykube", version=__version__)

    def emit(self, event: Event) -> None:
        """Write an event."""
        if isinstance(event, Message) and event.level == "debug" and self._verbosity < 1:
            return
        kind, fields = _fields(event)
        if isinstance(event, ItemProgress):
            with self._lock:
                transfer = self._rates.note(event, time.monotonic())
            fields["bytesPerSecond"] = None if transfer.rate is None else round(transfer.rate)
            fields["secondsLeft"] = None if transfer.left is None else round(transfer.left, 1)
        self._line(kind, **fields)

    def stopping(self) -> None:
        """Say that the run stops, whatever its other threads do."""
        self._stderr.urgent(_encode("message", {"level": "warning", "text": "stopping"}))

    def result(self, document: Mapping[str, Any]) -> None:
        """Write the last line of a run that went well."""
        self._last("result", result=document)

    def error(self, document: Mapping[str, Any]) -> None:
        """Write the last line of a run that failed."""
        self._last("error", error=document)

    def ended(self, document: Mapping[str, Any]) -> None:
        """Write the last line before the process is ended, whatever its other threads do."""
        self._over = True
        self._stderr.urgent(_encode("error", {"error": document}))

    def close(self) -> None:
        """Nothing is held."""

    def _last(self, kind: str, **fields: Any) -> None:
        if not self._over:
            self._line(kind, **fields)
            self._over = True

    def _line(self, kind: str, **fields: Any) -> None:
        with self._lock:
            if not self._over:
                self._stderr.line(_encode(kind, fields))


def _encode(kind: str, fields: Mapping[str, Any]) -> str:
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    return json.dumps({"type": kind, "time": now, **fields})


def _fields(event: Event) -> tuple[str, dict[str, Any]]:
    match event:
        case StepStarted():
            return "step_started", {
                "step": event.step,
                "title": event.title,
                "expectSeconds": event.expect_seconds,
            }
        case StepEnded():
            return "step_ended", {
                "step": event.step,
                "title": event.title,
                "status": str(event.status),
                "seconds": round(event.seconds, 3),
                "detail": clean(event.detail),
            }
        case NodeProgress():
            return "node", {
                "node": event.node,
                "activity": clean(event.activity),
                "status": str(event.status or "running"),
                "detail": clean(event.detail),
            }
        case ItemProgress():
            return "item", {
                "item": event.item,
                "activity": clean(event.activity),
                "status": str(event.status or "running"),
                "done": event.done,
                "total": event.total,
                "unit": event.unit,
            }
        case Message():
            return "message", {
                "level": event.level,
                "text": clean(event.text),
                "fields": {key: clean(value) for key, value in event.fields.items()},
            }
