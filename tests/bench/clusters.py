"""Clusters: the floor, `up` from bare nodes, `up` from a template, one worker more, and `down`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cost
import templates

if TYPE_CHECKING:
    from figures import Figures

HERE = Path(__file__).parent
CLI = str(Path(sys.executable).parent / "ohmykube")
NAME = "bench"

LIMITS = {
    "up_to_floor": 1.5,
    "up_from_template_to_floor": 0.6,
    "one_worker_more_seconds": 10.0,
    "one_worker_more_to_cluster": 0.5,
    "second_up_seconds": 3.0,
    "down_seconds": 5.0,
    "version_seconds": 0.150,
    "cli_peak_mib": 100.0,
}


@dataclass
class Watched:
    """A finished command: wall seconds, peak resident memory of itself and of its children."""

    seconds: float
    peak_mib: float
    children_peak_mib: float
    """Largest sum over all descendants at one instant; nodes are not counted."""
    output: str


def watch(argv: list[str], env: dict[str, str] | None = None) -> Watched:
    """Run a command to its end while looking at its memory four times a second."""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as sink:
        child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        own = below = 0.0
        while True:
            own = max(own, cost.memory_mib(child.pid, "VmHWM"))
            below = max(
                below, sum(cost.memory_mib(pid, "VmRSS") for pid in _descendants(child.pid))
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.25)
                break
        seconds = time.monotonic() - begin
        sink.seek(0)
        output = sink.read().decode(errors="replace")
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {child.returncode}\n{output[-4000:]}")
    return Watched(seconds, own, below, output)


def _descendants(pid: int) -> list[int]:
    """Return all processes below one, looking at no others: a look costs what is measured."""
    found: list[int] = []
    queue = [pid]
    while queue:
        for tasks in Path(f"/proc/{queue.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                # Nodes outlive the command, but as long as it runs it is their parent.
                children = [int(word) for word in tasks.read_text().split() if not _node(word)]
                found += children
                queue += children
    return found


def _node(pid: str) -> bool:
    with contextlib.suppress(OSError):
        return "/omk/" in Path(f"/proc/{pid}/cgroup").read_text()
    return False


def floor(figures: Figures, place: Path, workers: int) -> list[str]:
    """One round of the floor; returns its phases."""
    work = place / "floor"
    script = str(HERE / "floor.sh")
    try:
        done = cost.of([script, "up", str(place / "kit"), str(work), str(workers)])
    finally:
        subprocess.run([script, "down", str(work)], check=True)
    phases = [line for line in done.output.splitlines() if line[:6].strip()[:1].isdigit()]
    figures.add("floor_seconds", float(phases[-1].split()[0]))
    return phases


def arguments(workers: int) -> list[str]:
    """Return the arguments of ``up`` for the cluster of the floor."""
    return ["up", "--workers", str(workers), "--provider", "nspawn"]


def product(figures: Figures, env: dict[str, str], workers: int) -> None:
    """One round of the product: up, up again, down."""
    up = [CLI, *arguments(workers), "--template", "never", "--name", NAME]
    try:
        first = watch(up, env)
        figures.add("up_seconds", first.seconds)
        figures.add("cli_peak_mib", first.peak_mib)
        figures.add("ansible_peak_mib", first.children_peak_mib)
        figures.add("second_up_seconds", watch(up, env).seconds)
    finally:
        figures.add("down_seconds", watch([CLI, "down", NAME, "--yes"], env).seconds)


def measure(
    figures: Figures, place: Path, env: dict[str, str], workers: int
) -> tuple[list[str], dict[str, dict[str, float]]]:
    """One round; return the phases of the floor and of what began from a template."""
    phases = floor(figures, place, workers)
    product(figures, env, workers)
    cloned = templates.measure(figures, CLI, arguments(workers), arguments(workers + 1), env)
    figures.add("version_seconds", watch([CLI, "--version"], env).seconds)
    return phases, cloned


def ratios(figures: Figures) -> dict[str, float]:
    """Return what is held against the floor, by medians."""
    floor_seconds = figures.median("floor_seconds")
    return {
        "up_to_floor": figures.median("up_seconds") / floor_seconds,
        "up_from_template_to_floor": figures.median("up_from_template_seconds") / floor_seconds,
    }
