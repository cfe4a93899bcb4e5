"""Runs commands so that they can be ended: one at a time, or several of a list."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """A command and what to call it."""

    name: str
    argv: list[str]


def run(argv: list[str], limit: float, *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run one command to its end or to its time limit; return its code (124 for the limit)."""
    child = subprocess.Popen(argv, cwd=cwd, env=env, start_new_session=True)
    try:
        return child.wait(limit)
    except subprocess.TimeoutExpired:
        print(f"error: time limit of {limit:g} s passed: {child.args}", file=sys.stderr)
        stop([child])
        return 124
    except KeyboardInterrupt:
        stop([child])
        raise


@dataclass
class _Running:
    job: Job
    child: subprocess.Popen[bytes]
    said: IO[bytes]
    begun: float = field(default_factory=time.monotonic)

    def tell(self) -> int:
        """Print what an ended command said, and how it ended; return its code."""
        code = self.child.returncode
        self.said.seek(0)
        print(f"--> {self.job.name}\n{self.said.read().decode(errors='replace').rstrip()}")
        word = "ok" if code == 0 else "FAILED"
        print(
            f"--> {self.job.name}: {word} after {time.monotonic() - self.begun:.0f} s", flush=True
        )
        self.said.close()
        return code


def run_all(
    jobs: Iterable[Job], at_a_time: int, limit: float, *, cwd: Path, env: Mapping[str, str]
) -> int:
    """Run commands, some at a time; what each said is printed at its end.

    All of them run, whatever the others' ends. Returns the first code that is not 0, and 124 when
    the time limit passed.
    """
    waiting = list(jobs)
    running: list[_Running] = []
    codes: list[int] = []
    end = time.monotonic() + limit
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                running.append(_start(waiting.pop(0), cwd, env))
            for one in [one for one in running if one.child.poll() is not None]:
                running.remove(one)
                codes.append(one.tell())
            if time.monotonic() > end:
                names = ", ".join([one.job.name for one in running] + [job.name for job in waiting])
                print(f"error: time limit of {limit:g} s passed: {names}", file=sys.stderr)
                return 124
            time.sleep(_LOOK_SECONDS)
    finally:
        stop([one.child for one in running])
        for one in running:
            one.tell()
    return next((code for code in codes if code), 0)


def _start(job: Job, cwd: Path, env: Mapping[str, str]) -> _Running:
    print(f"    {job.name} ...", flush=True)
    said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by tell()
    child = subprocess.Popen(
        job.argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return _Running(job, child, said)


def stop(children: list[subprocess.Popen[bytes]]) -> None:
    """End commands with all that they started; those that can tidy up are given the time."""
    # Interrupt first: pytest and Molecule then run their own clean-up.
    for number, patience in ((signal.SIGINT, 60), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        left = [child for child in children if child.poll() is None]
        for child in left:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
        end = time.monotonic() + patience
        for child in left:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, end - time.monotonic()))
