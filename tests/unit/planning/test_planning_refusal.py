"""How refusals read."""

from __future__ import annotations

import pytest

from ohmykube.errors import ExitCode
from ohmykube.model.change import Plan, Refuse
from ohmykube.planning import refusal

NETWORK = Refuse(
    field="spec.network.certSANs", old=[], new=["a.example"], why="it is fixed", way_out="go away"
)
HOST = Refuse(
    node="w1",
    field="spec.nodes.workers.hosts.nodeIP",
    old=None,
    new="192.0.2.1",
    why="y",
    way_out="z",
)


def test_all_are_named_with_both_values_and_the_way_out() -> None:
    error = refusal.error("dev", Plan(refusals=(NETWORK, HOST)))
    assert (error.id, error.exit_code) == ("OMK-C-180", ExitCode.CONFIG)
    assert error.problems == (
        '`spec.network.certSANs` is [] and cannot become ["a.example"]: it is fixed; go away',
        "`spec.nodes.workers.hosts.nodeIP` of node w1 is not set and cannot become 192.0.2.1: y; z",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not set"),
        ("", '""'),
        ("plain", "plain"),
        ("two\nlines", '"two\\nlines"'),
        (True, "true"),
        ({"a": 1}, '{"a": 1}'),
        ("x" * 61, "x" * 57 + "..."),
    ],
)
def test_values_are_one_short_line(value: object, text: str) -> None:
    assert refusal.shown(value) == text
