"""Nodes that a deletion cordoned and that stay take pods again; others stay cordoned."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ohmykube.cluster.plugins.modules import kube_drain

from ohmykube.model.node_state import LEAVING, ApiNode, NodeState
from ohmykube.planning.observation import Observed
from ohmykube.progress import StepEnded
from ohmykube.steps.uncordon_nodes import uncordon_nodes
from ohmykube.testing.reporter import RecordingReporter
from tests.unit.steps.made_run import cluster_of, install_ssh, made_run

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

WORKERS = ("w1", "w2", "w3")
"""``w3`` is not described: it is still to go."""
CLUSTER = cluster_of(["cp1"], WORKERS[:2])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Context, Nodes]:
    """Give a run whose ssh writes down what kubectl was asked."""
    install_ssh(tmp_path, monkeypatch, f'echo "$@" >>{tmp_path}/asked')
    return made_run(tmp_path, CLUSTER, names=["cp1"])


@pytest.mark.parametrize(
    "leaving", [set(some) for n in range(4) for some in itertools.combinations(WORKERS, n)]
)
def test_what_a_deletion_has_begun_is_taken_back(
    run: tuple[Context, Nodes], tmp_path: Path, leaving: set[str]
) -> None:
    ctx, nodes = run
    known = tuple(
        ApiNode(name=name, unschedulable=True, labels={LEAVING: ""} if name in leaving else {})
        for name in ("cp1", *WORKERS)
    )
    observed = Observed(answers={"cp1": NodeState(nodes=known)})
    expected = sorted(leaving & {"w1", "w2"})
    assert uncordon_nodes(ctx, observed, nodes) is bool(expected)
    path = tmp_path / "asked"
    asked = path.read_text().splitlines() if path.exists() else []
    found = [line.partition("s ")[2].split()[-2:] for line in asked]
    assert found == [words for n in expected for words in (["uncordon", n], [n, f"{LEAVING}-"])], (
        "the label goes last: who is stopped in between does it again"
    )
    reporter = ctx.services.reporter
    assert isinstance(reporter, RecordingReporter)
    assert [ended.detail for ended in reporter.of(StepEnded)] == (
        [", ".join(expected)] if expected else []
    )


def test_without_an_answer_nothing_is_known(run: tuple[Context, Nodes]) -> None:
    ctx, nodes = run
    assert uncordon_nodes(ctx, Observed(), nodes) is False


def test_the_label_is_that_of_the_module() -> None:
    assert kube_drain.LEAVING == LEAVING
