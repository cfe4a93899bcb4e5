"""What runs beside what, in which order, and how it is ended; what a run says of it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from gate import report
from gate.history import History
from gate.parts import Part
from gate.report import Outcome
from gate.scheduler import TIME_LIMIT, Ended, Job, Scheduler


@dataclass
class OpenLock:
    """A lock that is free, or becomes free after some tries."""

    tries: int = 0
    asked: int = 0

    def acquire(self) -> bool:
        self.asked += 1
        return self.asked > self.tries

    def descriptor(self) -> int:
        return 0


@dataclass
class World:
    """A directory in which jobs note when they begin and end."""

    place: Path
    ended: list[Ended] = field(default_factory=list)

    def job(self, name: str, code: str = "", **about: Any) -> Job:
        note = f"open('notes', 'a').write('+{name} ');{code or 'pass'}\n"
        argv = [sys.executable, "-c", f"{note}open('notes', 'a').write('-{name} ')"]
        values = {"limit": 60.0, "env": dict(os.environ), **about}
        return Job(name=name, argv=argv, cwd=self.place, log=self.place / name, **values)

    def run(self, *jobs: Job, processors: float = 2, lock: OpenLock | None = None) -> list[str]:
        scheduler = Scheduler(processors, lock or OpenLock(), self.ended.append, lambda *_: None)
        scheduler.run(jobs)
        notes = self.place / "notes"
        return notes.read_text().split() if notes.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


MEET = """
import os, time
end = time.monotonic() + 60
while not os.path.exists('{other}'):
    assert time.monotonic() < end
    time.sleep(0.01)
"""


def test_two_jobs_run_at_a_time(world: World) -> None:
    """Each waits for the other one's log, which is there as soon as it has begun."""
    a, b = world.job("a", MEET.format(other="b")), world.job("b", MEET.format(other="a"))
    world.run(a, b)
    assert [one.code for one in world.ended] == [0, 0]


def test_one_processor_runs_one_after_the_other_the_longest_first(world: World) -> None:
    jobs = [world.job(name, expected=seconds) for name, seconds in (("a", 1), ("b", 9), ("c", 4))]
    assert world.run(*jobs, processors=1) == ["+b", "-b", "+c", "-c", "+a", "-a"]


def test_a_short_job_fills_what_a_long_one_leaves(world: World) -> None:
    """A job that needs more than is free lets others go first."""
    big = world.job("big", weight=2, expected=5)
    small = world.job("small", MEET.format(other="late"), weight=1, expected=9)
    late = world.job("late", weight=1, expected=1)
    notes = world.run(big, small, late)
    assert notes[-2:] == ["+big", "-big"]


def test_a_job_that_wants_more_than_there_is_runs_alone(world: World) -> None:
    assert world.run(world.job("huge", weight=9)) == ["+huge", "-huge"]


def test_jobs_with_nodes_wait_for_the_lock_and_others_do_not(world: World) -> None:
    nodes = world.job("nodes", nodes=True, expected=9)
    others = world.job("others", expected=1)
    assert world.run(nodes, others, lock=OpenLock(tries=15))[0] == "+others"
    assert {one.job.name: one.code for one in world.ended} == {"nodes": 0, "others": 0}


def test_as_many_jobs_with_nodes_run_as_there_are_processors(world: World) -> None:
    """They wait much and weigh little, but their nodes need memory."""
    jobs = [world.job(name, nodes=True, weight=0.1) for name in "abc"]
    notes = world.run(*jobs, processors=1)
    assert [note[0] for note in notes] == ["+", "-"] * 3


def test_a_failure_does_not_keep_others_from_running(world: World) -> None:
    world.run(world.job("bad", "raise SystemExit(3)"), world.job("good"))
    assert {one.job.name: one.code for one in world.ended} == {"bad": 3, "good": 0}


def test_a_time_limit_ends_a_job_and_says_so(world: World) -> None:
    # A Python that is just starting may swallow the first signal, and the next comes much later.
    world.run(replace(world.job("long", limit=0.3), argv=["sleep", "600"]))
    assert [one.code for one in world.ended] == [TIME_LIMIT]
    assert "time limit of 0.3 s passed" in (world.place / "long").read_text()


def test_processor_seconds_are_those_of_all_it_waited_for(world: World) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10**7))'])"
    world.run(world.job("busy", code))
    assert world.ended[0].cpu_seconds > 0


# -- reports ---------------------------------------------------------------------------------------


def outcome(spent: float, *, budget: float = 10, nodes: bool = False, **about: Any) -> Outcome:
    part = Part(name="unit/x", argv=(), inputs=(), budget=budget, nodes=nodes)
    seconds, cpu = (spent, 0.0) if nodes else (0.0, spent)
    values = {"status": "passed", "summary": "3 passed in 1.00s", **about}
    return Outcome(part=part, seconds=seconds, cpu_seconds=cpu, **values)


@pytest.mark.parametrize("nodes", [False, True])
@pytest.mark.parametrize(
    ("spent", "over", "status"), [(10, False, "passed"), (11, True, "passed"), (21, True, "FAILED")]
)
def test_budgets(nodes: bool, spent: float, over: bool, status: str) -> None:
    judged = outcome(spent, nodes=nodes).held_to_budget()
    assert (judged.over_budget, judged.status) == (over, status)
    assert ("more than twice its budget of 10 s" in judged.summary) == (status == "FAILED")
    line = report.table([judged], History(Path("nowhere")))[-1]
    assert ("OVER" in line) == over


def test_a_failed_part_is_not_judged_again() -> None:
    assert outcome(99, status="FAILED").held_to_budget().over_budget is False


def test_the_plan_says_what_runs_and_how_long_it_takes(tmp_path: Path) -> None:
    history = History(tmp_path / "history.json")
    history.add("unit/a", 100, 90)
    history.add("unit/a", 90, 80)
    history.add("e2e/b", 50, 5)
    history.save()
    read = History.read(tmp_path)
    made = [Part(name=name, argv=(), inputs=()) for name in ("unit/a", "e2e/b", "unit/new")]
    text = "\n".join(report.plan([], made, read, 2))
    assert "3 parts to run, 0 kept" in text
    assert "unit/a 90 s, e2e/b 50 s, unit/new" in text
    assert "about 1 min 30 s, and 1 that never ran here" in text
    both = "\n".join(report.plan([], [made[0], *[made[1]] * 4], read, 2))
    assert "about 2 min 25 s" in both


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"unit/a": 3}', '{"unit/a": [[1]]}'])
def test_a_history_that_cannot_be_read_is_none(tmp_path: Path, damage: str) -> None:
    (tmp_path / "history.json").write_text(damage)
    assert History.read(tmp_path).last("unit/a") is None


def test_the_slowest_tests_are_named(tmp_path: Path) -> None:
    cases = "".join(f'<testcase classname="t.m" name="n{n}" time="{n}"/>' for n in range(20))
    (tmp_path / "a.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    (tmp_path / "b.xml").write_text("<testsuites>")  # of a run that was ended
    lines = report.slowest([tmp_path / "a.xml", tmp_path / "b.xml", tmp_path / "none.xml"])
    assert [line.split()[-1] for line in lines[2:]] == [f"m::n{n}" for n in range(19, 9, -1)]


LONG = "\n".join(f"E   line {number}" for number in range(40))
PYTEST = f"""
..F.F
=================================== FAILURES ===================================
______________________________ test_one[a b] ______________________________
tests/x/test_x.py:12: in test_one
    assert f() == 2
E   AssertionError: assert 1 == 2
----------------------------- Captured stdout call -----------------------------
a wall of words
______________________________ TestIt.test_two ______________________________
tests/x/test_x.py:30: in test_two
{LONG}
=========================== short test summary info ============================
SKIPPED [7] tests/y.py:3: not here
FAILED tests/x/test_x.py::test_one[a b] - AssertionError: assert 1 == 2
FAILED tests/x/test_x.py::TestIt::test_two
2 failed, 3 passed, 7 skipped in 0.05s
"""


def test_the_decisive_lines_of_pytest() -> None:
    assert report.decisive(PYTEST) == [
        "test_one[a b]",
        "  tests/x/test_x.py:12: in test_one",
        "  E   AssertionError: assert 1 == 2",
        "TestIt.test_two",
        "  tests/x/test_x.py:30: in test_two",
        "  E   line 0",
        "  E   line 1",
        "  ...",
        *(f"  E   line {number}" for number in range(31, 40)),
        "FAILED tests/x/test_x.py::test_one[a b] - AssertionError: assert 1 == 2",
        "FAILED tests/x/test_x.py::TestIt::test_two",
        "2 failed, 3 passed, 7 skipped in 0.05s",
    ]
    assert report.closing_line(PYTEST) == "2 failed, 3 passed, 7 skipped in 0.05s"


def test_the_decisive_lines_of_any_other_program_are_its_last() -> None:
    text = "\n".join(f"line {number}" for number in range(500))
    assert report.decisive(text) == [f"line {number}" for number in range(440, 500)]
    assert report.closing_line(text) == ""


def test_many_failures_are_cut_in_the_middle() -> None:
    failures = "".join(f"____ test_{n} ____\nE   {n}\n" for n in range(100))
    lines = report.decisive(f"=== FAILURES ===\n{failures}=== short test summary info ===\nend\n")
    assert (lines[0], lines[-1], len(lines)) == ("test_0", "end", report.MOST_LINES + 1)
    assert "lines are left out" in lines[report.MOST_LINES // 2]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (75, "1 min 15 s")]
)
def test_durations(seconds: float, said: str) -> None:
    assert report.duration(seconds) == said
