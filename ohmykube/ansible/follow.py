"""Follows a playbook by its events: progress for the user, a log, facts for the verdict.

Events come in the thread that reads Ansible's terminal, which must never wait: they are put into a
queue, and one thread takes them out.
"""

from __future__ import annotations

import datetime as dt
import os
import queue
import threading
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from ohmykube.ansible import events
from ohmykube.ansible.events import HostStats, Result, TaskEnded, TaskRetried, TaskStarted
from ohmykube.ansible.outcome import TaskFailure
from ohmykube.kit import files
from ohmykube.model import names
from ohmykube.progress import WAITING, Message, NodeProgress, Reporter, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

_HIDDEN = "***"
_BAD = (Result.FAILED, Result.UNREACHABLE)


class Follower:
    """A context manager: ``put`` events inside, read the findings after it.

    Args:
        log_file: gets one line for each task result; made 0600, appended to.
        reporter: gets ``NodeProgress``, and with ``verbosity`` > 0 debug messages.
        done: what has become of a node in the end.
        secrets: values that appear nowhere in what is shown or written.
    """

    def __init__(
        self,
        log_file: Path,
        reporter: Reporter,
        *,
        done: str = "configured",
        verbosity: int = 0,
        secrets: Sequence[str] = (),
    ) -> None:
        self.stats: Mapping[str, HostStats] | None = None
        self.errors: list[str] = []
        self.tasks_run = 0
        self._busy: set[str] = set()
        """Hosts in the middle of a task."""
        self._failures: list[TaskFailure] = []
        self._log_file = log_file
        self._reporter = reporter
        self._done = done
        self._verbosity = verbosity
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._queue: queue.SimpleQueue[Mapping[str, object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._consume, name="ansible-events", daemon=True)
        self._trouble: BaseException | None = None
        self._log: IO[str] | None = None

    def __enter__(self) -> Follower:
        """Open the log; raises PermissionDenied, ResourceError."""
        with files.explained(self._log_file):
            descriptor = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._log = os.fdopen(descriptor, "a", encoding="utf-8")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Work off what is queued and close the log; raises what went wrong with the log."""
        self._queue.put(None)
        self._thread.join()
        with files.explained(self._log_file):
            if self._log is not None:
                self._log.close()
            if self._trouble is not None and error is None:
                raise self._trouble

    def put(self, raw: Mapping[str, object]) -> bool:
        """Take an event; never waits. False: ansible-runner need not keep the event in a file."""
        self._queue.put(raw)
        return False

    @property
    def failures(self) -> tuple[TaskFailure, ...]:
        """The failure that ended each failed node, in the order of time; rescued ones left out."""
        last = {failure.host: failure for failure in self._failures}
        found = sorted(last.values(), key=self._failures.index)
        if self.stats is None:
            return tuple(found)
        bad = {host for host, s in self.stats.items() if s.failed or s.unreachable}
        return tuple(failure for failure in found if failure.host in bad)

    def _consume(self) -> None:
        while (raw := self._queue.get()) is not None:
            if self._trouble is not None:
                continue  # keep taking, so that nothing piles up
            try:
                self._take(raw)
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                self._trouble = error

    def _take(self, raw: Mapping[str, object]) -> None:
        event = events.parse(raw)
        match event:
            case TaskStarted():
                self._started(event)
            case TaskRetried():
                title = _title(event)
                self._write(f"{event.host}  {title}  tried again, {event.left} left")
                self._show(event.host, title, detail=f"tried again, {event.left} left")
            case events.ItemEnded():
                if event.failed or self._verbosity > 0:
                    self._write_block(str(raw.get("stdout", "")))
            case TaskEnded():
                self._ended(replace(event, message=self._hide(event.message)), raw)
            case events.PlayStarted():
                self._write(f"play  {event.play}")
            case events.PlaybookEnded():
                self._over(event.stats)
            case events.Output():
                self._output(event)
            case _:
                pass

    def _started(self, event: TaskStarted) -> None:
        if event.host:
            self._busy.add(event.host)
            self._show(event.host, _title(event))
        else:
            self.tasks_run += 1

    def _ended(self, event: TaskEnded, raw: Mapping[str, object]) -> None:
        title = _title(event)
        self._busy.discard(event.host)
        word = "failed (ignored)" if event.ignored else event.result.value
        line = f"{event.host}  {title}  {word}  {event.seconds:.2f}s"
        self._write(line)
        full = str(raw.get("stdout", ""))
        if (event.result in _BAD or self._verbosity > 0) and full.strip():
            self._write_block(full)
        elif event.message:
            self._write_block(event.message)
        if self._verbosity > 0:
            self._reporter.emit(Message(text=line, level="debug"))
        if event.result in _BAD and not event.ignored:
            self._failures.append(
                TaskFailure(
                    host=event.host,
                    task=event.task,
                    role=event.role,
                    message=event.message,
                    unreachable=event.result is Result.UNREACHABLE,
                )
            )
            self._show(event.host, title, Status.FAILED, event.message.partition("\n")[0])
        elif self._busy:
            self._show(event.host, WAITING)

    def _over(self, stats: Mapping[str, HostStats]) -> None:
        self.stats = stats
        for host, counts in stats.items():
            self._write(
                f"{host}  recap  ok={counts.ok} changed={counts.changed} failed={counts.failed}"
                f" unreachable={counts.unreachable} skipped={counts.skipped}"
            )
            if not (counts.failed or counts.unreachable):
                status = Status.CHANGED if counts.changed else Status.OK
                self._show(host, self._done, status)

    def _output(self, event: events.Output) -> None:
        text = self._hide(event.text)
        # Ansible writes an error as several lines, and each comes as an event of its own.
        if event.level == "error" or (self.errors and self.stats is None):
            self.errors.append(text)
        self._write_block(text)
        if self._verbosity > 0:
            self._reporter.emit(Message(text=text, level="debug"))

    def _show(self, host: str, what: str, status: Status | None = None, detail: str = "") -> None:
        if host not in names.RESERVED:  # a task on this host is the work of no node
            event = NodeProgress(node=host, activity=what, status=status, detail=detail)
            self._reporter.emit(event)

    def _write(self, line: str) -> None:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        assert self._log is not None  # noqa: S101 - opened by __enter__
        self._log.write(f"{now}  {self._hide(line)}\n")
        self._log.flush()

    def _write_block(self, text: str) -> None:
        assert self._log is not None  # noqa: S101 - opened by __enter__
        for line in self._hide(text).replace("\r", "").strip("\n").split("\n"):
            self._log.write(f"    {line}\n")
        self._log.flush()

    def _hide(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text


def _title(event: TaskStarted | TaskRetried | TaskEnded) -> str:
    return f"{event.role} | {event.task}" if event.role else event.task
