"""The third way in a round: the same cluster from a template, and where its seconds go."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from figures import Figures

NAME = "bench-cloned"


def measure(
    figures: Figures, cli: str, up: Sequence[str], env: Mapping[str, str]
) -> dict[str, float]:
    """Make a cluster whose templates are there, then remove it; return its phases in seconds.

    Args:
        figures: gets ``up_from_template_seconds``, and ``template_build_seconds`` once.
        cli: the program.
        up: arguments of ``up`` without a name.
        env: its environment; templates stay in its home from round to round.
    """
    built = json.loads(_result(cost.of([cli, "template", "build", "-o", "json"], env).output))
    if built["made"]:
        figures.add("template_build_seconds", built["seconds"])
    try:
        made = cost.of([cli, *up, "--name", NAME, "--progress", "json"], env)
        figures.add("up_from_template_seconds", made.seconds)
    finally:
        cost.of([cli, "down", NAME, "--yes"], env)
    return phases(made.output)


def phases(events: str) -> dict[str, float]:
    """Return step -> seconds of the steps that were not skipped, from ``--progress json``."""
    lines = [json.loads(line) for line in events.splitlines() if line.startswith("{")]
    return {
        line["step"]: line["seconds"]
        for line in lines
        if line["type"] == "step_ended" and line["status"] == "ok"
    }


def _result(output: str) -> str:
    """Return the document at the end of what a command printed: talk comes before it."""
    return output[output.index("{\n") :]
