"""Ctrl-C, SIGTERM and SIGHUP: first ask the run to stop, then end it.

The first signal sets ``kit.interrupt.requested`` and says so at once. A second one, or
``PATIENCE_SECONDS`` without an end, ends the children and the process on the spot; every command
can be killed at any instant and run again, so nothing is lost by it.

The handlers themselves take no lock, as the code that a signal interrupts may hold it
(``kit.interrupt.request``): all that may wait is done by threads.
"""

from __future__ import annotations

import _thread
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
    """Says that a run is stopped."""

    def stopping(self) -> None:
        """Say that the run stops, and how to end it now; called from the handler: no locks."""
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
        self._over = threading.Event()
        self._followed = threading.Event()
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
        self._over.clear()
        if threading.current_thread() is threading.main_thread():
            for number in _WATCHED:
                old = signal.getsignal(number)
                # Whoever started us with a signal ignored (nohup, a background job) meant it.
                if old is not signal.SIG_IGN:
                    self._old[number] = old
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)  # type: ignore[arg-type]  # what getsignal gave
        self._over.set()
        if self.received is not None:
            self._followed.wait(1)  # or the flag is set when nobody means it any more
        interrupt.requested.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._elsewhere and number == signal.SIGINT:
            return
        if self.received is not None:
            _thread.start_new_thread(self._end_now, ())
            return
        self.received = number
        at_once = self._asking or self._elsewhere
        if not at_once:
            self._voice.stopping()
        _thread.start_new_thread(self._follow, (None if at_once else PATIENCE_SECONDS,))
        if at_once:
            raise KeyboardInterrupt

    def _follow(self, patience: float | None) -> None:
        interrupt.requested.set()
        self._followed.set()
        if not self._over.wait(patience):
            self._end_now()

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
