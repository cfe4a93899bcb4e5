"""Ctrl-C, SIGTERM and SIGHUP: first ask the run to stop, then end it.

The first signal sets ``kit.interrupt.requested`` and says so at once. A second one, or
``PATIENCE_SECONDS`` without an end, ends the children and the process on the spot; every command
can be killed at any instant and run again, so nothing is lost by it.

A thread does all this: Python runs handlers in the main thread only, between two of its steps. A
signal that arrives just as the main thread begins to wait would stay unseen until the wait is over,
and a handler may take no lock, as the code that it interrupts may hold it. The thread reads what
``signal.set_wakeup_fd`` has written at the instant of the signal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Protocol

from ohmykube.errors import ExitCode
from ohmykube.kit import failures, interrupt, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

PATIENCE_SECONDS = 4.5
_WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ASKING, _ELSEWHERE, _WORKING = 0xF1, 0xF2, 0xF3
"""What the main thread does from now on; sent to the thread among the signals, in their order."""


class Voice(Protocol):
    """Says that a run is stopped."""

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
        self._doing = _WORKING
        self._said = threading.Event()
        self._open = contextlib.ExitStack()
        self._sink: socket.socket | None = None
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
            source, self._sink = socket.socketpair()
            self._sink.settimeout(0)
            follower = threading.Thread(
                target=self._follow, args=(source,), name="signals", daemon=True
            )
            follower.start()
            self._open.callback(follower.join, 1)
            self._open.enter_context(self._sink)
            before = signal.set_wakeup_fd(self._sink.fileno(), warn_on_full_buffer=False)
            self._open.callback(signal.set_wakeup_fd, before)
            for number in _WATCHED:
                old = signal.getsignal(number)
                # Whoever started us with a signal ignored (nohup, a background job) meant it.
                if old is not signal.SIG_IGN:
                    self._open.callback(signal.signal, number, old)
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()
        interrupt.requested.clear()

    def asked_to_stop(self) -> bool:
        """Tell whether a signal asked us to stop, once the user has been told so."""
        if self.received is None:
            return False
        self._said.wait(1)
        return True

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._doing == _ELSEWHERE and number == signal.SIGINT:
            return
        if self.received is None:
            self.received = number
        if self._doing != _WORKING:
            raise KeyboardInterrupt

    def _follow(self, source: socket.socket) -> None:
        doing, end = _WORKING, None
        with source:
            while True:
                source.settimeout(None if end is None else max(end - time.monotonic(), 0.001))
                try:
                    news = source.recv(1)
                except TimeoutError:
                    self._end_now()
                    return
                if not news:
                    return
                (number,) = news
                if number in (_ASKING, _ELSEWHERE, _WORKING):
                    doing = number
                elif number not in _WATCHED or (doing, number) == (_ELSEWHERE, signal.SIGINT):
                    continue
                elif self._said.is_set():
                    self._end_now()
                    return
                else:
                    self.received = self.received or number
                    interrupt.requested.set()
                    if doing == _WORKING:
                        self._voice.stopping()
                        end = time.monotonic() + PATIENCE_SECONDS
                    self._said.set()

    def _end_now(self) -> None:
        process.end_all()
        self._voice.ended(self.code)
        self._leave(int(self.code))

    @contextlib.contextmanager
    def _does(self, what: int) -> Iterator[None]:
        self._tell(what)
        with failures.closing(lambda: self._tell(_WORKING)):
            yield

    def _tell(self, what: int) -> None:
        self._doing = what
        if self._sink is not None:
            self._sink.send(bytes([what]))

    def asking(self) -> contextlib.AbstractContextManager[None]:
        """While a question waits for its answer: a signal ends the wait at once."""
        return self._does(_ASKING)

    def elsewhere(self) -> contextlib.AbstractContextManager[None]:
        """While another program has the terminal: Ctrl-C is for that program."""
        return self._does(_ELSEWHERE)
