"""Runs the stages of the gate: ``gate.py all``, or ``gate.py STAGE [pytest options]``.

Each stage shows its own runner's output; the end is a table of seconds. ``all`` stops at the first
step that fails, measures coverage over all of them, and is what ``make test`` and CI run: first
what needs no nodes, then all that does.
"""

from __future__ import annotations

import fnmatch
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jobs
from jobs import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
LINE_FLOORS = {"ohmykube/*": 90, "ohmykube/cache/*": 95, "ohmykube/providers/lima/*": 95}
"""Files to the percentage of their lines that the tests must run."""
EVERY_BRANCH = (
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
"""Modules of ``ohmykube/cache`` that decide which bytes are believed: all lines, all branches."""

LINTERS = {
    "ansible-lint": ("ansible-lint", "--offline", "--strict"),
    "mypy": ("mypy",),
    "ruff check": ("ruff", "check", "."),
    "ruff format": ("ruff", "format", "--check", "."),
    "import-linter": ("lint-imports",),
    "yamllint": ("yamllint", "--strict", "."),
}
"""The slowest first, as the others run beside it."""


@dataclass(frozen=True)
class Stage:
    """One stage: its time limit in seconds, and for pytest stages the directory of its tests."""

    limit: int
    tests: str = ""
    by_file: bool = False
    """Whether its test files may run two at a time."""
    by_nodes: bool = False
    """Whether some of its tests need nodes, and the others may run beside them."""


STAGES = {
    "lint": Stage(600),
    "static": Stage(600, "tests/static", by_file=True),
    "unit": Stage(900, "tests/unit", by_file=True),
    "contract": Stage(1800, "tests/contract", by_nodes=True),
    "molecule": Stage(3600),
    "e2e": Stage(5400, "tests/e2e", by_nodes=True),
}
ALL = ("lint", "static", "unit", "contract", "e2e", "nodes", "coverage")
"""What ``all`` runs: of contract and e2e first what needs no nodes, then all that does at once."""
NIGHTLY = Stage(4 * 3600, "tests/e2e")
WORKERS = 2
"""How many linters, test files or runs with nodes go at a time: processors of CI's smallest."""
BY_FILE = ("-n", str(WORKERS), "--dist", "loadfile")
MOLECULE = [str(BIN / "molecule"), "test", "--all"]
"""All scenarios; ``default`` owns the nodes that the others share."""
OTHERS = "others"
WITH_NODES, WITHOUT_NODES = ("-m", "nodes"), ("-m", "not nodes")


def environment() -> dict[str, str]:
    """Return the environment of every stage: our tools first, our collection alone."""
    env = dict(os.environ)
    env["PATH"] = f"{BIN}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["VIRTUAL_ENV"] = str(ROOT / ".venv")
    env["ANSIBLE_COLLECTIONS_PATH"] = str(ROOT / "collections")
    env["ANSIBLE_INJECT_FACT_VARS"] = "false"
    # With a galaxy.yml in sight Molecule looks for its scenarios elsewhere.
    env["MOLECULE_GLOB"] = "molecule/*/molecule.yml"
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env["COVERAGE_FILE"] = str(ROOT / ".coverage")
    return env


def ignore_for_ourselves() -> None:
    """Hand down no ignored signal: under nohup, or in a script's background, some are ignored.

    An ignored signal stays ignored in every program that is started, and the tests of signals would
    wait for ever; one with a handler is back to its default there.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


def tidy_up_when_ended() -> None:
    """Let what runs remove its nodes, as after Ctrl-C, also when somebody else ends us."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


def run(argv: list[str], limit: float, **extra: str) -> int:
    """Run one command to its end or to its time limit; return its code (124 for the limit)."""
    return jobs.run(argv, limit, cwd=ROOT, env={**environment(), **extra})


def lint(limit: float) -> int:
    """Run every linter, whatever the others say; show the output of those that complain."""
    with ThreadPoolExecutor(WORKERS) as pool:
        codes = list(pool.map(lambda name: linter(name, limit), LINTERS))
    return 1 if any(codes) else 0


def linter(name: str, limit: float) -> int:
    """Run one linter; print a line about it, and what it complains about."""
    begin = time.monotonic()
    program, *options = LINTERS[name]
    try:
        done = subprocess.run(
            [str(BIN / program), *options],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit,
            check=False,
        )
        code, output = done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired:
        code, output = 124, f"time limit of {limit:g} s passed"
    word = "ok" if code == 0 else "FAILED"
    line = f"    {name:<14} {word:<7} {time.monotonic() - begin:5.1f} s"
    print(f"{line}\n{output.rstrip()}" if code else line, flush=True)
    return code


def pytest(about: Stage, *options: str, covered: bool, **extra: str) -> int:
    """Run the tests of one stage, measured when ``covered``."""
    if about.by_nodes and not options:
        with_nodes = tests_with_nodes(about, covered=covered)
        argv = pytest_argv(about.tests, WITHOUT_NODES, covered=covered, place=OTHERS)
        return side_by_side([with_nodes, Job(f"{about.tests} without", argv)], about.limit)
    if about.by_file:
        options = (*BY_FILE, *options)  # a later -n 0 wins
    return run(pytest_argv(about.tests, options, covered=covered), about.limit, **extra)


def tests_with_nodes(about: Stage, *, covered: bool) -> Job:
    """Return the run of a stage's tests with nodes.

    Never by pytest-xdist, which would not let an interrupted test remove them.
    """
    argv = pytest_argv(about.tests, WITH_NODES, covered=covered)
    return Job(f"{about.tests} with nodes", argv)


def without_nodes(about: Stage) -> int:
    """Run those tests of a stage that need no nodes, by file."""
    argv = pytest_argv(about.tests, (*BY_FILE, *WITHOUT_NODES), covered=True, place=OTHERS)
    return run(argv, about.limit)


def nodes() -> int:
    """Run all that needs nodes, the longest first."""
    several = [tests_with_nodes(STAGES["e2e"], covered=True)]
    if (refused := lacks_root("molecule")) is None:
        several.append(Job("molecule", MOLECULE))
    several.append(tests_with_nodes(STAGES["contract"], covered=True))
    return side_by_side(several, STAGES["e2e"].limit) or refused or 0


def side_by_side(several: Sequence[Job], limit: float) -> int:
    """Run commands two at a time."""
    return jobs.run_all(several, WORKERS, limit, cwd=ROOT, env=environment())


def pytest_argv(tests: str, options: Sequence[str], *, covered: bool, place: str = "") -> list[str]:
    """Return the command line that runs the tests of a directory."""
    how = [str(BIN / "coverage"), "run"] if covered else [str(BIN / "python")]
    base = []
    if os.environ.get("OHMYKUBE_TEST_RUN"):
        # All of it below the directory that .ci/run watches, and sockets have room in its paths.
        base = [f"--basetemp={Path(tempfile.gettempdir(), place or Path(tests).name)}"]
    return [*how, "-m", "pytest", "-q", *base, tests, *options]


def coverage() -> int:
    """Join what the stages measured and hold it against the floors."""
    tool = str(BIN / "coverage")
    run([tool, "combine", "-q"], 120)
    run([tool, "report", "--skip-covered", "--sort=cover"], 120)
    found = measured()
    wrong = []
    for files, floor in LINE_FLOORS.items():
        mine = [one for name, one in found.items() if fnmatch.fnmatch(name, files)]
        lines = 100 * sum(one["covered_lines"] for one in mine)
        lines /= max(1, sum(one["num_statements"] for one in mine))
        print(f"{files}: {lines:.1f} % of lines (at least {floor})")
        if lines < floor:
            wrong.append(files)
    for name in EVERY_BRANCH:
        file = f"ohmykube/cache/{name}.py"
        one = found.get(file, {"num_statements": 0, "missing_lines": 0, "missing_branches": 0})
        lacking = one["missing_lines"] + one["missing_branches"]
        if lacking or not one["num_statements"]:
            print(f"{file}: {lacking} lines or branches are never run")
            wrong.append(file)
    if wrong:
        print(f"error: not covered as it must be: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def measured() -> dict[str, dict[str, int]]:
    """Return the sums of coverage by file; nothing when nothing was measured."""
    argv = [str(BIN / "coverage"), "json", "-q", "-o", "-"]
    done = subprocess.run(
        argv, cwd=ROOT, env=environment(), capture_output=True, timeout=120, check=False
    )
    try:
        files = json.loads(done.stdout)["files"]
    except (ValueError, KeyError):
        return {}
    return {name: one["summary"] for name, one in files.items()}


def lacks_root(name: str) -> int | None:
    """Return the code of a stage that is not run for want of root; None when it can be run."""
    if os.geteuid() == 0:
        return None
    if os.environ.get("CI") == "true":
        print(f"error: {name} needs root", file=sys.stderr)
        return 1
    print(f"SKIPPED: {name} needs root; run it with sudo", file=sys.stderr)
    return 0


def stage(name: str, options: list[str], *, covered: bool) -> int:
    """Run one stage by name; return its code."""
    if name == "nightly":
        return pytest(NIGHTLY, *options, covered=False, OHMYKUBE_NIGHTLY="1")
    about = STAGES[name]
    if name == "lint":
        return lint(about.limit)
    if name == "molecule":
        refused = lacks_root(name)
        return run(MOLECULE, about.limit) if refused is None else refused
    return pytest(about, *options, covered=covered)


def step(name: str) -> int:
    """Run one step of ``all``; return its code."""
    if name == "nodes":
        return nodes()
    if name == "coverage":
        return coverage()
    about = STAGES[name]
    return without_nodes(about) if about.by_nodes else stage(name, [], covered=True)


def everything() -> int:
    """Run all steps; stop at the first that fails; print the table."""
    run([str(BIN / "coverage"), "erase"], 60)
    rows: list[tuple[str, str, float]] = []
    code = 0
    for name in ALL:
        begin = time.monotonic()
        print(f"==> {name}", flush=True)
        code = step(name)
        rows.append((name, "FAILED" if code else "ok", time.monotonic() - begin))
        if code:
            break
    print("\n    step       result    seconds")
    for name, result, seconds in rows:
        print(f"    {name:<10} {result:<9} {seconds:7.1f}")
    print(f"    {'':<10} {'':<9} {sum(row[2] for row in rows):7.1f}")
    if code:
        print(f"error: the gate failed at {rows[-1][0]}", file=sys.stderr)
    return 1 if code else 0


def main(arguments: list[str]) -> int:
    """Run what the command line names."""
    names = ["all", *STAGES, "nightly"]
    if not arguments or arguments[0] not in names:
        print(f"usage: gate.py {'|'.join(names)} [pytest options]", file=sys.stderr)
        return 2
    ignore_for_ourselves()
    tidy_up_when_ended()
    try:
        if arguments[0] == "all":
            return everything()
        return stage(arguments[0], arguments[1:], covered=False)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
