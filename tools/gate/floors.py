"""Coverage: joins what parts measured and holds it against the floors."""

from __future__ import annotations

import fnmatch
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .environment import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coverage import Coverage

LINES = {"ohmykube/*": 95, "ohmykube/cache/*": 95, "ohmykube/providers/lima/*": 95}
"""Files to the percentage of their lines that the tests must run."""
WHOLE = (
    "attached_bundles",
    "blobs",
    "fsck",
    "index",
    "layout",
    "leases",
    "pack",
    "prune",
    "reachability",
    "refs",
    "store",
    "unfinished_files",
    "unpack",
)
"""Modules of ``ohmykube/cache`` that decide which bytes are believed: all lines, and all branches
where branches are measured."""


def combine(data: Iterable[Path], target: Path) -> Path | None:
    """Join data files into one; None when there are none."""
    # Imported late: a run in which everything is kept needs none of it.
    from coverage.exceptions import CoverageWarning, NoDataError  # noqa: PLC0415

    paths = list(data)
    while files := [str(path) for path in paths if path.exists()]:
        whole = _coverage(target)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CoverageWarning)
                whole.combine(files, keep=True)
        except NoDataError:
            # Programs that a test ended late write, and take back, files of theirs meanwhile.
            if all(path.exists() for path in map(Path, files)):
                raise
            continue
        whole.save()
        return target
    return None


def held(data: Iterable[Path], place: Path) -> tuple[list[str], bool]:
    """Return what to print about coverage, and whether every floor is held."""
    whole = combine(data, place / "coverage")
    if whole is None:
        return ["error: nothing was measured"], False
    report = place / "coverage.json"
    measured = _coverage(whole)
    measured.load()
    measured.json_report(outfile=str(report))
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


def _coverage(data: Path) -> Coverage:
    from coverage import Coverage  # noqa: PLC0415 - as above

    return Coverage(data_file=str(data), config_file=str(ROOT / "pyproject.toml"))
