"""What the gate prints: what it will do, how each part ended, what failed and why, what it took."""

from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .history import History
    from .parts import Part

SLOWEST = 10
MOST_LINES = 60
_CLOSING = re.compile(
    r"^(?:=+ )?((?:\d+ [a-z]+(?:, )?)+ in [\d.]+s.*?|no tests ran.*?)(?: =+)?$", re.M
)
_SECTION = re.compile(r"^=+ (FAILURES|ERRORS) =+$", re.M)
_HEADING = re.compile(r"^_{3,} .* _{3,}$")
_SUMMARY = re.compile(r"^=+ short test summary info =+$", re.M)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a part: ``passed``, ``kept``, ``FAILED`` or ``not run``."""

    part: Part
    status: str
    summary: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    over_budget: bool = False

    @property
    def spent(self) -> float:
        """Return what counts against its budget: seconds with nodes, else processor seconds."""
        return self.seconds if self.part.nodes else self.cpu_seconds

    def held_to_budget(self) -> Outcome:
        """Return it marked where it is over its budget, and failed where it took twice as much."""
        budget = self.part.budget
        if self.status != "passed" or self.spent <= budget:
            return self
        if self.spent <= 2 * budget:
            return replace(self, over_budget=True)
        told = f"more than twice its budget of {budget:g} s; {self.summary}"
        return replace(self, over_budget=True, status="FAILED", summary=told)


def say(text: str) -> None:
    """Print; a reader that has gone away, such as ``head``, does not end the run."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def closing_line(log: str) -> str:
    """Return the last closing line of pytest in a log; nothing if there is none."""
    found = _CLOSING.findall(log)
    return found[-1] if found else ""


def decisive(log: str) -> list[str]:
    """Return the lines of a log that say what is wrong: of pytest each failure's last ones."""
    lines: list[str] = []
    summary = _SUMMARY.search(log)
    if sections := list(_SECTION.finditer(log)):
        end = summary.start() if summary else len(log)
        for failure in _failures(log[sections[0].end() : end]):
            lines += failure
    if summary:
        told = log[summary.end() :].strip().splitlines()
        lines += [line for line in told if not line.startswith("SKIPPED")]
    if not lines:
        lines = log.strip().splitlines()[-MOST_LINES:]
    if len(lines) > MOST_LINES:
        cut = len(lines) - MOST_LINES
        half = MOST_LINES // 2
        lines = [*lines[:half], f"... {cut} lines are left out ...", *lines[-half:]]
    return lines


def _failures(text: str) -> list[list[str]]:
    """Return of each failed test its name, where it failed, and what it says of it."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if _HEADING.match(line):
            found.append([line.strip("_ ").strip()])
        elif found and (line.startswith("E ") or re.match(r"\S+\.py:\d+: ", line)):
            found[-1].append(f"  {line}")
    # The end of a long complaint is where programs say what is wrong.
    return [one if len(one) <= 14 else [*one[:4], "  ...", *one[-9:]] for one in found]


def plan(
    fresh: Sequence[Part], to_run: Sequence[Part], history: History, processors: int
) -> list[str]:
    """Return what a run will do, and how long that takes as far as anybody knows."""
    lines = [f"==> {len(to_run)} parts to run, {len(fresh)} kept from a run that passed"]
    if fresh:
        lines += _wrapped("kept", [part.name for part in fresh])
    if not to_run:
        return lines
    told = [(part, history.last(part.name)) for part in to_run]
    known = [(part, figures[0], figures[1]) for part, figures in told if figures]
    lines += _wrapped(
        "to run", [f"{part.name} {f[0]:.0f} s" if f else part.name for part, f in told]
    )
    if known:
        longest = max(wall for _, wall, _ in known)
        share = sum(wall * part.weight for part, wall, _ in known) / processors
        new = (
            f", and {len(told) - len(known)} that never ran here" if len(known) < len(told) else ""
        )
        lines.append(f"    about {duration(max(longest, share))}{new}")
    return lines


def _wrapped(title: str, words: Sequence[str]) -> list[str]:
    lines, line = [], f"    {title}:"
    for number, word in enumerate(words):
        piece = f" {word}" + ("," if number < len(words) - 1 else "")
        if len(line) + len(piece) > 100:
            lines.append(line)
            line = " " * (len(title) + 5)
        line += piece
    return [*lines, line]


def ended(outcome: Outcome, history: History) -> str:
    """Return the line about a part that ended."""
    last = history.last(outcome.part.name)
    before = f"  last {last[0]:.0f} s, {last[1]:.0f}" if last else ""
    return (
        f"    {outcome.status:<7} {outcome.part.name:<22} {outcome.seconds:6.1f} s "
        f"{outcome.cpu_seconds:6.1f} cpu s{before}  {outcome.summary}"
    )


def table(outcomes: Sequence[Outcome], history: History) -> list[str]:
    """Return the end of a run: each part that ran with what it took, before and at most."""
    lines = ["", "    part                    result   seconds   cpu s    last  budget"]
    for one in sorted(outcomes, key=lambda one: -one.seconds):
        if one.status in {"kept", "not run"}:
            continue
        last = history.last(one.part.name)
        before = (last[0] if one.part.nodes else last[1]) if last else None
        lines.append(
            f"    {one.part.name:<23} {one.status:<7} {one.seconds:8.1f} {one.cpu_seconds:7.1f} "
            f"{'' if before is None else f'{before:.0f}':>7} {one.part.budget:7.0f}"
            + ("  OVER" if one.over_budget else "")
        )
    return lines


def slowest(reports: Iterable[Path]) -> list[str]:
    """Return the slowest tests by pytest's reports in JUnit's format."""
    times: list[tuple[float, str]] = []
    for path in reports:
        try:
            cases = ET.parse(path).iter("testcase")
        except (OSError, ET.ParseError):
            continue  # of a run that was ended
        for case in cases:
            name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
            times.append((float(case.get("time", 0)), name))
    lines = ["", "    slowest tests"]
    for seconds, name in sorted(times, reverse=True)[:SLOWEST]:
        lines.append(f"    {seconds:6.1f} s  {name[:86]}")
    return lines if times else []


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
