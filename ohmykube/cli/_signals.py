"""Ctrl-C, SIGTERM and SIGHUP: first ask the run to stop, then end it.

The first signal sets ``kit.interrupt.requested`` and says so at once. A second one, or
``PATIENCE_SECONDS`` without an end, ends the children and the process on the spot; every command
can be killed at any instant and run again, so nothing is lost by it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Protocol

from ohmykube.errors import ExitCode
from ohmykube.kit import interrupt, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

PATIENCE_SECONDS = 4.5
_WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Voice(Protocol):
    """Says things from a signal handler."""

    def stopping(self) -> None:
        """Say that the run stops, and how to end it now."""
        ...

    def ended(self, code: ExitCode) -> None:
        """Say the last word: the process ends with ``code`` right after."""
        ...


class Signals:
    """Context manager that handles the signals while a command runs."""

    def __init__(self, voice: Voice, leave: Callable[[int], object] = os._exit) -> None:
        self._voice = voice
        self._leave = leave
        self._old: dict[int, object] = {}
        self._timer: threading.Timer | None = None
        self._asking = False
        self._elsewhere = False
        self.received: int | None = None
        """The first signal that asked us to stop."""

    @property
    def code(self) -> ExitCode:
        """The exit code of an interrupted run."""
        if self.received in (None, signal.SIGINT):
            return ExitCode.INTERRUPTED
        return ExitCode.TERMINATED

    def __enter__(self) -> Signals:
        interrupt.requested.clear()
        if threading.current_thread() is threading.main_thread():
            for number in _WATCHED:
                old = signal.getsignal(number)
                # Whoever started us with a signal ignored (nohup, a background job) meant it.
                if old is not signal.SIG_IGN:
                    self._old[number] = old
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, old in self._old.items():
            signal.signal(number, old)  # type: ignore[arg-type]  # what getsignal gave
        interrupt.requested.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._elsewhere and number == signal.SIGINT:
            return
        if self.received is not None:
            self._end_now()
            return
        self.received = number
        interrupt.requested.set()
        if self._asking or self._elsewhere:
            raise KeyboardInterrupt
        self._voice.stopping()
        self._timer = threading.Timer(PATIENCE_SECONDS, self._end_now)
        self._timer.daemon = True
        self._timer.start()

    def _end_now(self) -> None:
        process.end_all()
        self._voice.ended(self.code)
        self._leave(int(self.code))

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """While a question waits for its answer: a signal ends the wait at once."""
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator[None]:
        """While another program has the terminal: Ctrl-C is for that program."""
        self._elsewhere = True
        try:
            yield
        finally:
            self._elsewhere = False
