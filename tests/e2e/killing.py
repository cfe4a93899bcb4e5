"""Runs of `up` that are killed at random moments."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time

from tests.e2e.conftest import processes

SEED = int(os.environ.get("OHMYKUBE_SEED", "20261123"))


def moments(seed: int, count: int, latest: float) -> list[float]:
    """Return after how many seconds to kill each run: the same for the same seed."""
    source = random.Random(seed)
    return [source.uniform(1, latest) for _ in range(count)]


def kill(run: subprocess.Popen[bytes], name: str, after: float) -> list[str]:
    """Kill the `up` of a cluster after some seconds; return what of it is alive a moment later."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(max(0.0, after))  # a quick machine may be done by then
    run.kill()
    run.wait()
    return ghosts(name)


def ghosts(name: str) -> list[str]:
    """Return ansible and ssh processes of a killed run, given the moment that signals take."""
    end = time.monotonic() + 10
    while True:
        found = processes(f"/clusters/{name}/runs/")
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.1)
