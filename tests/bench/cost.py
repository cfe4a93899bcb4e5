"""What a command costs: wall seconds, processor seconds of all of its processes, peak memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Cost:
    """Of one finished command and the children that it waited for."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    """Of the command's own process."""
    output: str


def of(
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    stdin: int | None = None,
    *,
    keep: bool = True,
) -> Cost:
    """Run a command to its end; SystemExit when it fails.

    Args:
        argv: program and arguments.
        env: instead of our environment.
        stdin: an open file.
        keep: whether standard output is kept, which costs a program that writes much.
    """
    with tempfile.TemporaryFile() as sink:
        begin = time.monotonic()
        stdout = sink if keep else subprocess.DEVNULL
        child = subprocess.Popen(argv, env=env, stdin=stdin, stdout=stdout, stderr=sink)
        peak, pid = 0.0, 0
        while not pid:
            # Not ru_maxrss: it counts what the parent had when the child was made, too.
            peak = max(peak, memory_mib(child.pid, "VmHWM"))
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if not pid:
                time.sleep(0.01)
        seconds = time.monotonic() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        sink.seek(0)
        output = sink.read().decode(errors="replace")
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {child.returncode}\n{output[-4000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak, output)


def memory_mib(pid: int, key: str) -> float:
    """Return a line of ``/proc/<pid>/status`` such as VmHWM; 0 for a process that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def of_shell(script: str) -> Cost:
    """Run a pipeline with bash."""
    return of(["bash", "-euo", "pipefail", "-c", script])
