"""The third way in a round: the same cluster from a template, and then one worker more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from figures import Figures

NAME = "bench-cloned"


def measure(
    figures: Figures, cli: str, up: Sequence[str], more: Sequence[str], env: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Make a cluster whose templates are there, let it grow, then remove it.

    Args:
        figures: gets ``up_from_template_seconds``, ``one_worker_more_seconds`` and the ratio of
            both, and ``template_build_seconds`` once.
        cli: the program.
        up: arguments of ``up`` without a name.
        more: the same with one worker more.
        env: its environment; templates stay in its home from round to round.

    Returns:
        The phases of both in seconds.
    """
    built = json.loads(_result(cost.of([cli, "template", "build", "-o", "json"], env).output))
    if built["made"]:
        figures.add("template_build_seconds", built["seconds"])
    try:
        made = cost.of([cli, *up, "--name", NAME, "--progress", "json"], env)
        figures.add("up_from_template_seconds", made.seconds)
        grown = cost.of([cli, *more, "--name", NAME, "--progress", "json"], env)
        figures.add("one_worker_more_seconds", grown.seconds)
        figures.add("one_worker_more_to_cluster", grown.seconds / made.seconds)
    finally:
        cost.of([cli, "down", NAME, "--yes"], env)
    return {"upFromTemplate": phases(made.output), "oneWorkerMore": phases(grown.output)}


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
