"""The log file of one run: everything, with times, for the day it is needed.

Nothing is written until ``open``: read-only commands leave no trace, but what they noted so far
is kept in memory for the case that something unexpected happens.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import re
import traceback
from collections import deque
from typing import TYPE_CHECKING, TextIO

from ohmykube.kit.files import ensure_directory
from ohmykube.progress import ItemProgress, Message, NodeProgress, StepEnded, StepStarted

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.progress import Event

KEEP_FILES = 20
"""Of each command: the log of the `up` that matters outlives many a `kubeconfig`."""
_KEEP_LINES = 2000
_MODE = 0o600


class RunLog(logging.Handler):
    """Takes log records and progress events; a disk that fails never fails the run."""

    def __init__(self, directory: Path | None, command: str) -> None:
        """Take note of what is said.

        Args:
            directory: for the file; None for no file ever.
            command: what is run.
        """
        super().__init__(logging.DEBUG)
        self.command = command
        self.path: Path | None = None
        """The file, once there is one."""
        self._directory = directory
        self._early: deque[str] = deque(maxlen=_KEEP_LINES)
        self._file: TextIO | None = None

    def open(self) -> None:
        """Create the file and write what was noted so far; does nothing the second time."""
        with self.lock_or_nothing():
            if self._file is not None or self._directory is None:
                return
            with contextlib.suppress(Exception):
                ensure_directory(self._directory)
                self.path, self._file = self._create(self._directory)
                self._file.writelines(self._early)
                self._file.flush()
                self._early.clear()
                self._prune(self._directory)

    def lock_or_nothing(self) -> contextlib.AbstractContextManager[object]:
        """Return the handler's lock."""
        return self.lock if self.lock is not None else contextlib.nullcontext()

    def _create(self, directory: Path) -> tuple[Path, TextIO]:
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        for attempt in range(100):
            suffix = f"-{attempt}" if attempt else ""
            path = directory / f"{stamp}-{self.command}{suffix}.log"
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(path, flags, _MODE)
                return path, os.fdopen(descriptor, "w", encoding="utf-8", errors="replace")
        raise FileExistsError(path)

    def _prune(self, directory: Path) -> None:
        """Remove the oldest logs of this command: those of others are theirs to remove."""
        names = re.compile(rf"\d+T\d+-{re.escape(self.command)}(-\d+)?\.log")
        logs = [path for path in directory.iterdir() if names.fullmatch(path.name)]
        for old in sorted(logs, key=lambda path: path.stat().st_mtime)[:-KEEP_FILES]:
            with contextlib.suppress(OSError):
                old.unlink()

    def note(self, text: str, level: str = "INFO") -> None:
        """Write a line, or several, each with the time."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        self._put("".join(f"{now} {level:<7} {line}\n" for line in text.splitlines() or [""]))

    def _put(self, text: str) -> None:
        with self.lock_or_nothing():
            if self._file is None:
                self._early.append(text)
                return
            with contextlib.suppress(OSError, ValueError):
                self._file.write(text)
                self._file.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of one of our loggers."""
        try:
            text = f"{record.name}: {record.getMessage()}"
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
        except Exception:  # noqa: BLE001 - a bad format string must not end the run
            text = f"{record.name}: {record.msg!r}"
        self.note(text, record.levelname)

    def error_with_traceback(self, error: BaseException) -> None:
        """Write where an unexpected exception came from; makes the file if there is none."""
        self.open()
        self.note("".join(traceback.format_exception(error)), "ERROR")

    def event(self, event: Event) -> None:
        """Write a progress event."""
        self.note(_describe(event), "EVENT")

    def close(self) -> None:
        """Close the file."""
        with self.lock_or_nothing():
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()
                self._file = None
        super().close()


def _describe(event: Event) -> str:
    match event:
        case StepStarted():
            return f"step {event.step}: started ({event.title})"
        case StepEnded():
            detail = f": {event.detail}" if event.detail else ""
            return f"step {event.step}: {event.status} after {event.seconds:.2f}s{detail}"
        case NodeProgress():
            state = event.status or "..."
            return f"node {event.node}: {event.activity}: {state} {event.detail}".rstrip()
        case ItemProgress():
            return f"item {event.item}: {event.activity}: {event.status or '...'}"
        case Message():
            fields = "".join(f" {key}={value}" for key, value in event.fields.items())
            return f"{event.level}: {event.text}{fields}"
