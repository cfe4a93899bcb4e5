"""Changes single lines of the product and looks whether the gate notices: mutants.py [options].

Each change is made in a copy of the checkout, where the tests near it run first and those of all
other parts that read the file after them, the cheapest first; those with nodes are not asked, they
would take days.
Survivors are listed. Ends 1 when a smaller share than ``--least`` was noticed.
"""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import kept
from gate import parts, sandbox
from gate.__main__ import handle_signals
from gate.environment import BIN, ROOT, environment
from gate.inputs import Tree

LOCK = ROOT / "requirements" / "mutants.txt"
PRODUCT = ("ohmykube/*.py", "plugins/*.py", "!ohmykube/testing/*", "!*__main__.py")
LIMITS = (300.0, 600.0, 900.0)
"""Seconds for the tests near a change, in its room and elsewhere: endless loops are noticed."""


@dataclass(frozen=True)
class Mutant:
    """One changed line."""

    path: str
    line: int
    old: str
    new: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: `{self.old}` -> `{self.new}`"


class Copies:
    """Copies of the checkout, one for each worker."""

    def __init__(self, tree: Tree, place: Path, count: int) -> None:
        self._free: queue.Queue[Path] = queue.Queue()
        for number in range(count):
            copy = place / str(number) / "checkout"
            sandbox.populate(tree, copy)
            self._free.put(copy)

    def notices(self, mutant: Mutant, stages: list[list[list[str]]]) -> str:
        """Return what notices a change, nothing when nothing does."""
        copy = self._free.get()
        target = copy / mutant.path
        original = target.read_text()
        try:
            target.write_text(mutant.text)
            for commands, limit in zip(stages, LIMITS, strict=True):
                for command in commands:
                    if noticed := _fails(copy, command, limit):
                        return noticed
            return ""
        finally:
            target.write_text(original)
            self._free.put(copy)


_running: dict[int, subprocess.Popen[str]] = {}
_ending = threading.Event()
"""Somebody ended the run: what was killed then has noticed nothing."""


def _end(child: subprocess.Popen[str]) -> None:
    subprocess.run(["pkill", "-KILL", "--session", str(child.pid)], check=False)


def _fails(copy: Path, command: list[str], limit: float) -> str:
    with tempfile.TemporaryDirectory(prefix="omk-m") as scratch:
        Path(scratch).chmod(0o711)
        kept_there = str(copy.parent)
        argv = [
            word.replace("{scratch}", scratch).replace("{kept}", kept_there) for word in command
        ]
        child = subprocess.Popen(
            sandbox.argv(copy, ROOT, Path(scratch), argv),
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        _running[child.pid] = child
        try:
            said, _ = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            _end(child)
            child.communicate()
            return "time limit"
        finally:
            del _running[child.pid]
        if _ending.is_set():
            raise KeyboardInterrupt
        if child.returncode in (0, 5):
            return ""
        failed = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return failed[0][:100] if failed else " ".join(command)[-60:]


def stages(mutant: Mutant, tree: Tree, all_parts: list[parts.Part]) -> list[list[list[str]]]:
    """Return what is asked about a change, the nearest first."""
    reading = [p for p in all_parts if p.tests and not p.nodes and mutant.path in p.files(tree)]
    names = tree.matching(["tests/*test_*.py"])
    tests = {t for part in reading for t in names if t.startswith(part.tests)}
    top, _, rest = mutant.path.partition("/")
    room = "tests/unit/plugins/" if top == "plugins" else f"tests/unit/{rest.partition('/')[0]}/"
    own = sorted(test for test in tests if test.startswith(room))
    near = [test for test in own if mutant.path in tree.direct_imports(test)]
    others = tests - set(own) - {t for t in tests if t.startswith("tests/tools/")}
    elsewhere = [
        sorted(test for test in others if test.startswith(part.tests))
        for part in sorted(reading, key=lambda part: part.budget)
    ]
    mypy = [str(BIN / "mypy"), "--cache-dir={kept}/mypy"]
    return [
        [_pytest(near)] if near else [],
        [_pytest([test for test in own if test not in near])] if len(own) > len(near) else [],
        [mypy, *(_pytest(theirs) for theirs in elsewhere if theirs)],
    ]


def _pytest(tests: list[str]) -> list[str]:
    options = ("-q", "-x", "--tb=no", "-p", "no:cacheprovider", "-m", "not nodes")
    return [sys.executable, "-m", "pytest", *options, "--basetemp={scratch}/t", *tests]


def make(place: Path) -> int:
    """Make the environment of cosmic-ray."""
    argv = [sys.executable, "-m", "venv", "--without-pip", str(place / "venv")]
    if code := subprocess.run(argv, check=False).returncode:
        return code
    return kept.pip("--python", str(place / "venv" / "bin" / "python"), "install", "-r", str(LOCK))


def picked(tree: Tree, seed: int, count: int) -> list[Mutant]:
    """Return the changes that a seed means.

    Raises:
        SystemExit: cosmic-ray cannot be installed, or finds too little to change.
    """
    place = kept.directory("mutants", make, LOCK.read_bytes())
    if place is None:
        raise SystemExit("error: the environment of cosmic-ray could not be made")
    argv = [str(place / "venv/bin/python"), str(ROOT / "tools/mutate.py"), str(seed), str(count)]
    names = sorted(tree.matching(PRODUCT))
    done = subprocess.run([*argv, *names], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: changes cannot be made: {done.stderr.strip()[-800:]}")
    return [Mutant(**json.loads(line)) for line in done.stdout.splitlines()]


def main() -> int:
    """Try the changes and list those that nothing noticed."""
    about = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    about.add_argument("--seed", type=int, default=int(time.strftime("%Y%m%d")))
    about.add_argument("--count", type=int, default=100)
    about.add_argument("--least", type=float, default=92.0, help="percentage to be noticed")
    about.add_argument("--at-a-time", type=int, default=2)
    options = about.parse_args()
    handle_signals()
    tree = Tree.read(ROOT)
    mutants = picked(tree, options.seed, options.count)
    all_parts = parts.everything(tree)
    asked = {mutant: stages(mutant, tree, all_parts) for mutant in mutants}
    place = Path(tempfile.mkdtemp(prefix="omk-mutants-"))
    survivors: list[Mutant] = []
    printing = threading.Lock()
    try:
        copies = Copies(tree, place, options.at_a_time)

        def attempt(mutant: Mutant) -> None:
            noticed = copies.notices(mutant, asked[mutant])
            with printing:
                print(f"{'noticed' if noticed else 'SURVIVED'}: {mutant}  {noticed}", flush=True)
                if not noticed:
                    survivors.append(mutant)

        with ThreadPoolExecutor(options.at_a_time) as pool:
            try:
                list(pool.map(attempt, mutants))
            except KeyboardInterrupt:
                _ending.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for child in tuple(_running.values()):
                    _end(child)
                raise
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(place, ignore_errors=True)
    share = 100 * (1 - len(survivors) / len(mutants))
    print(f"\nseed {options.seed}: {share:.0f} % of {len(mutants)} changes were noticed")
    for mutant in survivors:
        print(f"  {mutant}")
    print(f"{len(mutants) - len(survivors)} passed, {len(survivors)} failed")
    return 0 if share >= options.least else 1


if __name__ == "__main__":
    sys.exit(main())
