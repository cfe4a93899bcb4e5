"""One run of the gate: decides what must run, runs it, keeps what passed, and tells all of it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import floors, report, sandbox
from .environment import ROOT, environment, fingerprint
from .history import History
from .inputs import Tree
from .machine import NodesLock, WorkDirectory
from .parts import BATCHES, NODES_WEIGHT, smoke
from .report import Outcome
from .results import Result, ResultCache, directory
from .scheduler import Ended, Job, Scheduler

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .parts import Part

LOGS = 10
"""How many runs' logs stay."""


def key(
    part: Part, tree: Tree, *, names: Iterable[str] | None = None, branches: bool = False
) -> str:
    """Return the key of a part's result: one digest of all that the result depends on.

    Its files are those that the part reads in ``tree``, or ``names``.
    """
    about = [
        *(part.name, part.tests, part.batch, branches, part.variables, fingerprint()),
        [word.replace(str(ROOT), "") for word in part.argv],
        tree.digest(part.files(tree) if names is None else names),
    ]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


@dataclass
class Run:
    """Runs parts over a tree."""

    tree: Tree
    full: bool = False
    """Run what is kept, too."""
    branches: bool = False
    """Measure branches, which costs more than lines."""
    whole: bool = True
    """Whether all parts are asked for: coverage is then held against its floors."""
    place: Path = field(default_factory=directory)
    lock: NodesLock = field(default_factory=NodesLock)
    processors: int = field(default_factory=lambda: os.cpu_count() or 1)

    def __post_init__(self) -> None:
        self._results = ResultCache(self.place)
        self._history = History.read(self.place)
        self._before = History.read(self.place)
        self._confine = sandbox.available()
        self._directory = WorkDirectory()
        self._work = self._directory.path
        self._logs = new_logs(self.place / "logs")
        self._outcomes: list[Outcome] = []
        self._keys: dict[str, str] = {}
        self._jobs: dict[str, tuple[Part, ...]] = {}
        self._coverage: list[Path] = []

    def execute(self, parts: Sequence[Part]) -> int:
        """Run what must run; return 1 when anything failed, 130 when interrupted."""
        begin = time.monotonic()
        kept = [part for part in parts if self._is_kept(part)]
        to_run = [part for part in parts if part not in kept]
        to_run += [smoke(part) for part in kept if part.smoke]
        report.say("\n".join(report.plan(kept, to_run, self._history, self.processors)))
        code = 0
        try:
            jobs = self._all_jobs(to_run)
            Scheduler(self.processors, self.lock, self._at_end, _at_wait).run(jobs)
        except KeyboardInterrupt:
            code = 130
        finally:
            left = self.lock.release()
            failed = self._close(to_run, begin)
            if code == 130:
                report.say("interrupted: what ran was ended, and removed what it had made")
            code = code or failed or left
            self._history.save()
            self._directory.remove()
        return code

    # -- before ------------------------------------------------------------------------------------

    def _is_kept(self, part: Part) -> bool:
        self._keys[part.name] = key(part, self.tree, branches=self.branches)
        if self.full or part.narrowed or not part.kept or not self._keepable(part):
            return False
        result = self._results.find(part.name, self._keys[part.name])
        if result is None:
            return False
        if result.coverage:
            self._coverage.append(self._results.coverage(part.name, result.key))
        self._outcomes.append(Outcome(part=part, status="kept", summary=result.summary))
        return True

    def _keepable(self, part: Part) -> bool:
        """Tell whether a part may be kept here: in the sandbox it reads what its key says."""
        return self._confine or not part.sandbox

    def _all_jobs(self, parts: Sequence[Part]) -> list[Job]:
        batches: dict[str, list[Part]] = {}
        for part in parts:
            batches.setdefault(part.batch or part.name, []).append(part)
        return [self._job(tuple(batch)) for batch in batches.values()]

    def _job(self, parts: tuple[Part, ...]) -> Job:
        first = parts[0]
        name = first.batch or first.name
        self._jobs[name] = parts
        number = len(self._jobs)
        env = {**environment(), **dict(first.variables)}
        if first.tests:
            env["COVERAGE_FILE"] = str(self._output(name) / "data")
            if self.branches:
                env["COVERAGE_CORE"] = "ctrace"  # the other core sees lines only
            argv = self._pytest(first, name, number)
        else:
            argv = [*BATCHES.get(first.batch, ()), *(word for part in parts for word in part.argv)]
        if first.cache:
            cache = self._tool_cache(first.cache)
            argv = [word.replace("{cache}", str(cache)) for word in argv]
        if self._confine and first.sandbox:
            names = first.files(self.tree)
            self._keys[first.name] = key(first, self._copy, names=names, branches=self.branches)
            listed = self._work / f"{number}.names"
            seen = sorted(names | {made for name, made in self._compiled.items() if name in names})
            listed.write_bytes(b"".join(os.fsencode(name) + b"\0" for name in seen))
            argv = sandbox.argv(self._copy.root, ROOT, self._temporary(number), argv, listed)
        last = [self._history.last(part.name) for part in parts]
        return Job(
            name=name,
            argv=argv,
            cwd=ROOT,
            env=env,
            log=self._work / f"{name.replace('/', '-')}.log",
            limit=first.limit,
            expected=sum(f[0] if f else p.budget for f, p in zip(last, parts, strict=True)),
            weight=NODES_WEIGHT if first.nodes else first.weight,
            nodes=first.nodes,
            open_files=(self._directory.descriptor,),
        )

    @functools.cached_property
    def _copy(self) -> Tree:
        """Copy the checkout, for all parts that see their inputs only."""
        return sandbox.populate(self.tree, self._work / "checkout")

    @functools.cached_property
    def _compiled(self) -> dict[str, str]:
        return sandbox.compiled(self._copy.root)

    def _tool_cache(self, name: str) -> Path:
        """Return the directory that a tool keeps between runs, or one for this run alone."""
        kept = self.place / "tools" / f"{name}-{fingerprint()[:12]}"
        with contextlib.suppress(OSError):
            kept.mkdir(parents=True, exist_ok=True)
            return kept
        return self._work / name

    def _pytest(self, part: Part, name: str, number: int) -> list[str]:
        self._output(name).mkdir(parents=True)
        branch = ["--branch"] if self.branches else []
        measuring = ["-m", "coverage", "run", *branch] if part.measured else []
        return [
            *(sys.executable, *measuring, "-m", "pytest"),
            *("-q", "--tb=short", "-p", "no:cacheprovider"),
            f"--basetemp={self._temporary(number) / 'b'}",
            f"--junitxml={self._output(name) / 'junit.xml'}",
            *(*part.argv, *part.tests),
        ]

    def _temporary(self, number: int) -> Path:
        """Return the directory of what tests write; its path is short: sockets have room in it."""
        made = self._work / str(number)
        made.mkdir(exist_ok=True)
        made.chmod(0o711)  # some tests run programs as other users
        return made

    def _output(self, name: str) -> Path:
        return self._work / "out" / name.replace("/", "-")

    # -- meanwhile ---------------------------------------------------------------------------------

    def _at_end(self, ended: Ended) -> None:
        parts = self._jobs[ended.job.name]
        log = ended.job.log.read_text(errors="replace")
        summary = report.closing_line(log)
        share = len(parts)
        # No test chosen is no failure of a part whose tests are all of the other kind.
        passed = ended.code == 0 or (ended.code == 5 and "deselected" in log)
        for part in parts:
            outcome = Outcome(
                part=part,
                status="passed" if passed else "FAILED",
                summary=summary,
                seconds=ended.seconds / share,
                cpu_seconds=ended.cpu_seconds / share,
            )
            outcome = self._judged(outcome)
            self._outcomes.append(outcome)
            report.say(report.ended(outcome, self._before))
            if outcome.status == "passed":
                self._keep(outcome)
        kept = self._kept_log(ended.job.log)
        if not passed:
            lines = [f"    | {line}" for line in report.decisive(log)]
            report.say("\n".join([*lines, f"    | all of it: {kept}"]))

    def _judged(self, outcome: Outcome) -> Outcome:
        """Hold a part to its budget; a first run with nodes may have to build every component."""
        cold = outcome.part.nodes and self._before.last(outcome.part.name) is None
        return outcome if cold else outcome.held_to_budget()

    def _keep(self, outcome: Outcome) -> None:
        part = outcome.part
        if part.narrowed:
            return
        self._history.add(part.name, outcome.seconds, outcome.cpu_seconds)
        data = None
        if part.tests and part.measured:
            place = self._output(part.name)
            data = floors.combine(sorted(place.glob("data.*")), place / "combined")
        if data is not None:
            self._coverage.append(data)
        if not part.kept or not self._keepable(part):
            return
        mine = self._keys[part.name]
        # In the sandbox nothing changes meanwhile; elsewhere somebody may have edited a file.
        if not part.sandbox and key(part, Tree.read(ROOT), branches=self.branches) != mine:
            return
        result = Result(part.name, mine, outcome.summary, outcome.seconds, outcome.cpu_seconds)
        self._results.keep(result, data)

    # -- after -------------------------------------------------------------------------------------

    def _close(self, to_run: Sequence[Part], begin: float) -> int:
        done = {one.part.name for one in self._outcomes}
        missing = [part.name for part in to_run if part.name not in done]
        failed = [one.part.name for one in self._outcomes if one.status == "FAILED"]
        lines = report.table(self._outcomes, self._before)
        lines += report.slowest(sorted(self._work.glob("out/*/junit.xml")))
        if self.whole and not failed and not missing:
            place = self._work / "coverage"
            place.mkdir()
            told, held = floors.held(self._coverage, place)
            lines += ["", *told]
            failed += [] if held else ["coverage"]
        lines += [f"    note: {note}" for note in self._results.notes]
        kept = sum(one.status == "kept" for one in self._outcomes)
        lines.append(
            f"==> {len(self._outcomes) - kept} parts ran, {kept} kept, "
            f"{report.duration(time.monotonic() - begin)}"
        )
        report.say("\n".join(lines))
        if failed:
            print(f"error: failed: {', '.join(failed)}", file=sys.stderr, flush=True)
        if missing:
            print(f"error: not run: {', '.join(missing)}", file=sys.stderr, flush=True)
        return 1 if failed or missing else 0

    def _kept_log(self, log: Path) -> Path:
        """Keep a log beyond this run; return where it is."""
        try:
            return Path(shutil.copy(log, self._logs))
        except OSError as error:
            self._results.notes.append(f"the log {log.name} is not kept: {error.strerror}")
            return log


def new_logs(place: Path) -> Path:
    """Make a directory for the logs of a run, and remove those of old ones."""
    made = place / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    with contextlib.suppress(OSError):
        made.mkdir(parents=True, exist_ok=True)
        for old in sorted(place.iterdir(), key=lambda path: path.stat().st_mtime)[:-LOGS]:
            shutil.rmtree(old, ignore_errors=True)
    return made


def _at_wait(running: list[tuple[str, float]], waiting: int) -> None:
    names = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in running)
    report.say(f"    running: {names}; {waiting} wait")
