"""Runs the stages of the gate: ``gate.py all``, or ``gate.py STAGE [pytest options]``.

Each stage shows its own runner's output; the end is a table of seconds. ``all`` stops at the first
stage that fails, measures coverage over all of them, and is what ``make test`` and CI run.
"""

from __future__ import annotations

import contextlib
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
    needs_root: bool = False
    by_file: bool = False
    """Whether its test files may run two at a time."""
    by_nodes: bool = False
    """Whether the tests without nodes may run beside those with nodes."""


STAGES = {
    "lint": Stage(600),
    "static": Stage(600, "tests/static"),
    "unit": Stage(900, "tests/unit", by_file=True),
    "contract": Stage(1800, "tests/contract", by_nodes=True),
    "molecule": Stage(3600, needs_root=True),
    "e2e": Stage(5400, "tests/e2e", by_nodes=True),
}
NIGHTLY = Stage(4 * 3600, "tests/e2e")
WORKERS = 2
"""How many linters or test files run at a time: what the smallest machine of CI has processors."""


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
    child = subprocess.Popen(argv, cwd=ROOT, env={**environment(), **extra}, start_new_session=True)
    return _end(child, limit)


def run_both(argv: list[str], beside: list[str], limit: float) -> int:
    """Run two commands at a time, the output of the second one behind that of the first.

    Returns the first code that is not 0.
    """
    end = time.monotonic() + limit
    with tempfile.TemporaryFile() as said:
        other = subprocess.Popen(
            beside,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            codes = [run(argv, limit), _end(other, max(1, end - time.monotonic()))]
        finally:
            if other.poll() is None:
                _stop(other)
            said.seek(0)
            print(said.read().decode(errors="replace"), flush=True)
    return codes[0] or codes[1]


def _end(child: subprocess.Popen[bytes], limit: float) -> int:
    try:
        return child.wait(limit)
    except subprocess.TimeoutExpired:
        print(f"error: time limit of {limit:g} s passed: {child.args}", file=sys.stderr)
        _stop(child)
        return 124
    except KeyboardInterrupt:
        _stop(child)
        raise


def _stop(child: subprocess.Popen[bytes]) -> None:
    # Interrupt first: pytest and Molecule then run their own clean-up.
    for number, patience in ((signal.SIGINT, 60), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience)
            return


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


def molecule(limit: float) -> int:
    """Run all scenarios; ``default`` owns the nodes that the others share."""
    return run([str(BIN / "molecule"), "test", "--all"], limit)


def pytest(about: Stage, *options: str, covered: bool, **extra: str) -> int:
    """Run the tests of one stage, measured when ``covered``."""
    if about.by_file:
        options = ("-n", str(WORKERS), "--dist", "loadfile", *options)  # a later -n 0 wins
    if about.by_nodes and not options:
        # Two whole runs: pytest-xdist would not let an interrupted test remove its nodes.
        with_nodes = pytest_argv(about.tests, ["-m", "nodes"], covered=covered)
        others = pytest_argv(about.tests, ["-m", "not nodes"], covered=covered, place="others")
        return run_both(with_nodes, others, about.limit)
    return run(pytest_argv(about.tests, options, covered=covered), about.limit, **extra)


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


def stage(name: str, options: list[str], *, covered: bool) -> int:
    """Run one stage by name; return its code."""
    if name == "nightly":
        return pytest(NIGHTLY, *options, covered=False, OHMYKUBE_NIGHTLY="1")
    about = STAGES[name]
    if about.needs_root and os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            print(f"error: {name} needs root", file=sys.stderr)
            return 1
        print(f"SKIPPED: {name} needs root; run it with sudo", file=sys.stderr)
        return 0
    if name == "lint":
        return lint(about.limit)
    if name == "molecule":
        return molecule(about.limit)
    return pytest(about, *options, covered=covered)


def everything() -> int:
    """Run all stages; stop at the first that fails; print the table."""
    run([str(BIN / "coverage"), "erase"], 60)
    rows: list[tuple[str, str, float]] = []
    code = 0
    for name in [*STAGES, "coverage"]:
        begin = time.monotonic()
        print(f"==> {name}", flush=True)
        code = coverage() if name == "coverage" else stage(name, [], covered=True)
        rows.append((name, "FAILED" if code else "ok", time.monotonic() - begin))
        if code:
            break
    print("\n    stage      result    seconds")
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
