"""Coverage: joins what parts measured and holds it against the floors."""

from __future__ import annotations

import fnmatch
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

from .environment import BIN, ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LINES = {"ohmykube/*": 95, "ohmykube/cache/*": 95, "ohmykube/providers/lima/*": 95}
"""Files to the percentage of their lines that the tests must run."""
WHOLE = (
    "attached",
    "blobs",
    "fsck",
    "index",
    "ingest",
    "layout",
    "leases",
    "pack",
    "prune",
    "reach",
    "refs",
    "store",
    "unpack",
)
"""Modules of ``ohmykube/cache`` that decide which bytes are believed: all lines, and all branches
where branches are measured."""


def combine(data: Iterable[Path], target: Path) -> Path | None:
    """Join data files into one; None when there are none."""
    files = [str(path) for path in data if path.exists()]
    if files:
        _coverage("combine", "--quiet", "--keep", f"--data-file={target}", *files)
    return target if target.exists() else None


def held(data: Iterable[Path], place: Path) -> tuple[list[str], bool]:
    """Return what to print about coverage, and whether every floor is held."""
    copies = []
    for number, path in enumerate(data):
        copies.append(place / f"part-{number}")
        shutil.copyfile(path, copies[-1])
    whole = combine(copies, place / "coverage")
    report = place / "coverage.json"
    if whole is not None:
        _coverage("json", "--quiet", f"--data-file={whole}", "-o", str(report))
    if not report.exists():
        return ["error: nothing was measured"], False
    files = {n: one["summary"] for n, one in json.loads(report.read_bytes())["files"].items()}
    lines, held_all = [], True
    for pattern, floor in LINES.items():
        mine = [one for name, one in files.items() if fnmatch.fnmatch(name, pattern)]
        run = 100 * sum(one["covered_lines"] for one in mine)
        run /= max(1, sum(one["num_statements"] for one in mine))
        lines.append(f"    {pattern}: {run:.1f} % of lines (at least {floor})")
        held_all = held_all and run >= floor
    for module in WHOLE:
        name = f"ohmykube/cache/{module}.py"
        one = files.get(name, {})
        lacking = one.get("missing_lines", 0) + one.get("missing_branches", 0)
        if lacking or not one.get("num_statements"):
            lines.append(f"    {name}: {lacking or 'all'} lines or branches are never run")
            held_all = False
    worst = sorted(files.items(), key=lambda item: item[1]["percent_covered"])[:5]
    told = ", ".join(
        f"{n.removeprefix('ohmykube/')} {o['percent_covered']:.0f} %" for n, o in worst
    )
    return [*lines, f"    least: {told}"], held_all


def _coverage(*words: str) -> None:
    done = subprocess.run(
        [str(BIN / "coverage"), *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        print(f"    coverage {words[0]}: {(done.stdout + done.stderr).strip()[-500:]}", flush=True)
