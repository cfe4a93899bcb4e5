"""What a command costs: wall seconds, processor seconds and peak memory of all of its processes."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Cost:
    """Of one finished command and the children that it waited for."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    """Of the largest single process."""
    output: str


def of(argv: Sequence[str], env: Mapping[str, str] | None = None, stdin: int | None = None) -> Cost:
    """Run a command to its end; SystemExit when it fails."""
    with tempfile.TemporaryFile() as sink:
        begin = time.monotonic()
        child = subprocess.Popen(argv, env=env, stdin=stdin, stdout=sink, stderr=sink)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        sink.seek(0)
        output = sink.read().decode(errors="replace")
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {child.returncode}\n{output[-4000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def of_shell(script: str) -> Cost:
    """Run a pipeline with bash."""
    return of(["bash", "-euo", "pipefail", "-c", script])
