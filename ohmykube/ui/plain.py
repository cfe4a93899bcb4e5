"""Progress as plain lines, for logs and pipes: a line when something began or ended, and after 30 s
of silence a line that says what is still under way. No escapes, no carriage returns.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.progress import (
    WAITING,
    ItemProgress,
    Message,
    NodeProgress,
    Status,
    StepEnded,
    StepStarted,
)
from ohmykube.ui.console import STOPPING, one_line, seconds
from ohmykube.ui.transfer_rate import TransferRates, amount

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.progress import Event
    from ohmykube.ui.console import ErrorStream

HEARTBEAT_SECONDS = 30.0


@dataclass(slots=True)
class _Running:
    title: str
    since: float


class PlainReporter:
    """Writes lines such as ``[00:42] Create nodes: dev-w1 started``."""

    def __init__(
        self, stderr: ErrorStream, *, verbosity: int = 0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._stderr = stderr
        self._verbosity = verbosity
        self._now = now
        self._started = self._last = now()
        self._lock = threading.RLock()
        self._steps: dict[str, _Running] = {}
        self._doing: dict[str, str] = {}
        self._amounts: dict[str, str] = {}
        self._rates = TransferRates()
        self._seen: dict[str, tuple[str, Status]] = {}
        self._stopping = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def emit(self, event: Event) -> None:
        """Write an event, if it is news."""
        with self._lock:
            match event:
                case StepStarted():
                    self._begin(event)
                case StepEnded():
                    self._end(event)
                case NodeProgress():
                    self._part(event.node, event.activity, event.status, event.detail)
                case ItemProgress():
                    self._part(event.item, event.activity, event.status, "")
                    far = amount(event, self._rates.note(event, self._now()))
                    self._amounts[event.item] = f" {far}" if far else ""
                case Message():
                    self._message(event)

    def _begin(self, event: StepStarted) -> None:
        self._steps[event.step] = _Running(event.title, self._now())
        expect = f" (about {seconds(event.expect_seconds)})" if event.expect_seconds else ""
        self._line(f"{event.title} ...{expect}")
        self._watch()

    def _end(self, event: StepEnded) -> None:
        self._steps.pop(event.step, None)
        if not self._steps:
            self._doing.clear()
            self._amounts.clear()
            self._seen.clear()
        detail = f": {event.detail}" if event.detail else ""
        if event.status is Status.SKIPPED:
            self._line(f"{event.title}: skipped{detail}")
        else:
            word = "stopped" if self._is_stopped(event.status) else _word(event.status)
            self._line(f"{event.title}: {word} after {seconds(event.seconds)}{detail}")

    def _is_stopped(self, status: Status) -> bool:
        return self._stopping and status is Status.FAILED

    def _part(self, name: str, activity: str, status: Status | None, detail: str) -> None:
        if status is None:
            news = self._doing.get(name) != activity
            self._doing[name] = activity
            news = news and activity != WAITING
            if news and self._verbosity:
                self._line(f"  {name}: {activity} ...")
            return
        self._doing.pop(name, None)
        if self._seen.get(name) == (activity, status):
            return
        self._seen[name] = (activity, status)
        extra = f" ({detail})" if detail else ""
        self._line(f"  {name}: {activity}: {_word(status)}{extra}")

    def _message(self, event: Message) -> None:
        if event.level == "debug" and not self._verbosity:
            return
        self._line(f"warning: {event.text}" if event.level == "warning" else event.text)

    def _line(self, text: str) -> None:
        now = self._now()
        self._last = now
        whole = int(now - self._started)
        self._stderr.line(f"[{whole // 60:02d}:{whole % 60:02d}] {_keep_indent(text)}")

    def _watch(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(1.0):
            self.tick()

    def tick(self) -> None:
        """Write a sign of life when nothing was written for ``HEARTBEAT_SECONDS``."""
        with self._lock:
            now = self._now()
            if not self._steps or now - self._last < HEARTBEAT_SECONDS:
                return
            for running in self._steps.values():
                doing = "; ".join(
                    f"{name} {what}{self._amounts.get(name, '')}"
                    for name, what in list(self._doing.items())[:4]
                )
                extra = f": {doing}" if doing else ""
                self._line(f"{running.title}: still running, {seconds(now - running.since)}{extra}")

    def stopping(self) -> None:
        """Say that the run stops, whatever its other threads do."""
        self._stopping = True
        self._stderr.urgent(STOPPING)

    def close(self) -> None:
        """Stop the heartbeat."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2.0)


def _word(status: Status) -> str:
    return "FAILED" if status is Status.FAILED else str(status)


def _keep_indent(text: str) -> str:
    return "  " * text.startswith("  ") + one_line(text)
