"""How refusals read."""

from __future__ import annotations

from dataclasses import replace

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


def test_all_are_named_with_both_values_and_the_reason() -> None:
    error = refusal.error("dev", Plan(refusals=(NETWORK, HOST)))
    assert (error.id, error.exit_code) == ("OMK-C-180", ExitCode.CONFIG)
    assert error.problems == (
        '`spec.network.certSANs` is [] and cannot become ["a.example"]: it is fixed',
        "`spec.nodes.workers.hosts.nodeIP` of node w1 is not set and cannot become 192.0.2.1: y",
    )
    assert error.hint == "go away  (spec.network.certSANs)\nz  (spec.nodes.workers.hosts.nodeIP)"


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_way_out_and_a_reason_stand_once(count: int) -> None:
    """A reason is told once for a field, whatever its nodes, and a way out once for all fields."""
    fields = tuple(replace(NETWORK, field=f"spec.f{number}") for number in range(count))
    nodes = tuple(replace(HOST, node=f"w{number}", way_out="go away") for number in range(count))
    error = refusal.error("dev", Plan(refusals=(*fields, *nodes)))
    text = "\n".join((*error.problems, str(error.hint)))
    assert error.hint == "go away"
    assert len(error.problems) == count + 1
    assert text.count(": y") == 1
    assert all(one.node in error.problems[-1] for one in nodes)


def test_of_many_fields_the_first_are_named_beside_their_way_out() -> None:
    fields = tuple(replace(NETWORK, field=f"f{number}") for number in range(5))
    error = refusal.error("dev", Plan(refusals=(*fields, HOST)))
    assert str(error.hint).splitlines()[0] == "go away  (f0, f1, f2 and 2 more)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not set"),
        ("", '""'),
        ("plain", "plain"),
        ("two\nlines", '"two\\nlines"'),
        (True, "true"),
        (2.0, "2"),
        (2, "2"),
        (0.5, "0.5"),
        ({"a": 1}, '{"a": 1}'),
        ("x" * 61, "x" * 57 + "..."),
    ],
)
def test_values_are_one_short_line(value: object, text: str) -> None:
    assert refusal.shown(value) == text
