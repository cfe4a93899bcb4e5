"""Runs commands side by side, and ends them so that they can tidy up."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

_LOOK_SECONDS = 0.1
_TOLD_SECONDS = 60.0
_ENDING = ((signal.SIGINT, 90.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))
"""Interrupt first: pytest then runs its own clean-up. With the seconds each is given."""
TIME_LIMIT = 124


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command."""

    name: str
    argv: list[str]
    cwd: Path
    env: Mapping[str, str]
    log: Path
    """What it says goes there."""
    limit: float
    """Seconds after which it is ended."""
    expected: float = 0.0
    """Seconds that it will take: the longest begin first."""
    weight: float = 1.0
    """How many processors it keeps busy."""
    nodes: bool = False
    """Whether it makes nodes, whose names are shared by all of the machine."""
    open_files: tuple[int, ...] = ()
    """File descriptors that it inherits."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    job: Job
    code: int
    seconds: float
    cpu_seconds: float
    """User and system time of it and of what it waited for; without nodes, which are nobody's."""


class Lock(Protocol):
    """Lets one run at a time make nodes on this machine."""

    def acquire(self) -> bool:
        """Try to get it; true as soon as it is ours."""

    def descriptor(self) -> int:
        """Return its file descriptor: who has it open has the lock."""


@dataclass
class Scheduler:
    """Runs jobs while the processors last."""

    processors: float
    lock: Lock
    at_end: Callable[[Ended], None]
    at_wait: Callable[[list[tuple[str, float]], int], None]
    """Called now and then with names and seconds of what runs, and how many jobs wait."""
    _running: list[_Running] = field(default_factory=list)

    def run(self, jobs: Iterable[Job]) -> None:
        """Run all jobs, whatever the ends of others; what runs is ended when we are interrupted."""
        waiting = sorted(jobs, key=lambda job: -job.expected)
        told = time.monotonic()
        try:
            while waiting or self._running:
                self._start_some(waiting)
                self._look()
                if time.monotonic() - told > _TOLD_SECONDS:
                    told = time.monotonic()
                    self.at_wait(
                        [(one.job.name, one.seconds) for one in self._running], len(waiting)
                    )
                time.sleep(_LOOK_SECONDS)
        finally:
            self._end_all()

    def _start_some(self, waiting: list[Job]) -> None:
        for job in list(waiting):
            busy = sum(one.job.weight for one in self._running)
            with_nodes = sum(one.job.nodes for one in self._running)
            # A job that wants more than there is runs alone. Beside what waits much there is room.
            room = self.processors + (0.5 if with_nodes else 0.0)
            if self._running and busy + job.weight > room:
                continue
            if job.nodes and (with_nodes >= self.processors or not self.lock.acquire()):
                continue
            waiting.remove(job)
            self._running.append(_Running(job, self.lock if job.nodes else None))

    def _look(self) -> None:
        for one in list(self._running):
            if one.ended() or one.late():
                self._running.remove(one)
                self.at_end(one.result())

    def _end_all(self) -> None:
        end(self._running)
        for one in self._running:
            self.at_end(one.result())
        self._running.clear()


class _Running:
    """A child and what it used."""

    def __init__(self, job: Job, lock: Lock | None) -> None:
        self.job = job
        self.begun = time.monotonic()
        self._usage = 0.0
        self._code: int | None = None
        with job.log.open("wb") as log:
            self.child = subprocess.Popen(
                [*_with_parent(), *job.argv],
                cwd=job.cwd,
                env=dict(job.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A gate that is killed leaves it to its tests, who tidy up, to give the lock back.
                pass_fds=(*job.open_files, *(() if lock is None else (lock.descriptor(),))),
            )
        self._seconds: float | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun if self._seconds is None else self._seconds

    def ended(self, options: int = os.WNOHANG) -> bool:
        if self._code is None:
            pid, status, usage = os.wait4(self.child.pid, options)
            if pid:
                self._seconds = self.seconds
                self._code = self.child.returncode = os.waitstatus_to_exitcode(status)
                self._usage = usage.ru_utime + usage.ru_stime
        return self._code is not None

    def late(self) -> bool:
        if self.seconds < self.job.limit:
            return False
        end([self])
        with self.job.log.open("a") as log:
            log.write(f"\nerror: time limit of {self.job.limit:g} s passed\n")
        self._code = TIME_LIMIT
        return True

    def result(self) -> Ended:
        code = signal.SIGKILL if self._code is None else self._code
        return Ended(self.job, code, self.seconds, self._usage)


def end(running: Iterable[_Running]) -> None:
    """End commands with all that they started, giving them the time to tidy up."""
    for number, patience in _ENDING:
        left = [one for one in running if not one.ended()]
        for one in left:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.child.pid, number)
        limit = time.monotonic() + patience
        while time.monotonic() < limit and not _all_ended(left):
            time.sleep(_LOOK_SECONDS)


def _all_ended(running: Sequence[_Running]) -> bool:
    return not [one for one in running if not one.ended()]  # each is asked, each is reaped


def _with_parent() -> list[str]:
    """Return the start of a command line whose program is interrupted when the gate is killed."""
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "INT"] if program else []
