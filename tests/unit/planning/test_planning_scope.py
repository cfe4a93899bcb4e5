"""Which nodes a plan concerns."""

from __future__ import annotations

import pytest

from ohmykube.model import change
from ohmykube.model.change import Change, Plan
from ohmykube.model.cluster import Cluster, Node, Role
from ohmykube.planning.scope import nodes_in, scope_of

CLUSTER = Cluster(
    name="dev",
    kubernetes_version="1.36.3",
    provider="fake",
    nodes=(
        Node(name="cp1", role=Role.CONTROL_PLANE),
        Node(name="cp2", role=Role.CONTROL_PLANE),
        Node(name="w1", role=Role.WORKER),
        Node(name="w2", role=Role.WORKER),
    ),
)


def create(name: str) -> Change:
    role = Role.CONTROL_PLANE if name.startswith("cp") else Role.WORKER
    return change.CreateNode(node=name, role=role)


def label(name: str) -> Change:
    field = "spec.nodes.workers.labels.a"
    return change.ReconfigureNode(node=name, field=field, old="1", new="2")


def memory(name: str) -> Change:
    field = "spec.nodes.workers.memory"
    return change.ReconfigureNode(node=name, field=field, old="4096MiB", new="2048MiB")


DELETE = change.DeleteNode(node="w9", role=Role.WORKER, reason="so")
BACKEND = change.ReconfigureCluster(
    field="spec.network.flannel.backend", old="vxlan", new="host-gw"
)
SOURCES = change.UpdateSetting(field="spec.artifacts.sources", old=["a"], new=["b"])


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ((), set()),
        ((create("w2"),), {"w2"}),
        ((create("w1"), create("w2")), {"w1", "w2"}),
        ((change.RepairNode(node="w1"), change.StartNode(node="w2")), {"w1", "w2"}),
        ((label("w1"),), {"w1"}),
        ((label("cp2"), create("w2")), {"cp2", "w2"}),
        ((create("w2"), SOURCES), {"w2"}),
        ((SOURCES,), set()),
        ((memory("w1"),), set()),
        ((memory("w1"), label("w2")), {"w2"}),
        ((change.ConfigureNode(node="w1", reasons=("a",)),), {"w1"}),
        ((DELETE,), set()),
        ((create("w2"), DELETE), {"w2"}),
        ((create("cp2"),), None),
        ((change.RepairNode(node="cp2"),), None),
        ((change.StartNode(node="cp1"), create("w2")), None),
        ((create("w2"), BACKEND), None),
        ((create("w2"), change.FinishRun()), None),
    ],
)
def test_a_plan_concerns_the_nodes_that_it_names_unless_all(
    changes: tuple[Change, ...], wanted: set[str] | None
) -> None:
    assert scope_of(Plan(changes=changes), CLUSTER) == wanted


def test_nodes_in_scope_keep_their_order() -> None:
    assert nodes_in(CLUSTER, None) == CLUSTER.nodes
    assert [n.name for n in nodes_in(CLUSTER, frozenset({"w2", "cp1", "gone"}))] == ["cp1", "w2"]
    assert nodes_in(CLUSTER, frozenset()) == ()
