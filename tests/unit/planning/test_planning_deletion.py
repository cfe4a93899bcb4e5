"""Nodes that are too many: in which order they go, and when they may not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.config import load
from ohmykube.model.change import CreateNode, DeleteNode, Refuse
from ohmykube.model.cluster import Role
from ohmykube.model.machine import MachineState
from ohmykube.model.node_state import ApiNode
from ohmykube.planning import deletion
from ohmykube.planning.observation import Observed
from tests.unit.planning.observing import AS_LEFT, diff, machine, seen

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster

STOPPED, BROKEN = MachineState.STOPPED, MachineState.BROKEN


def cluster(planes: int = 1, workers: int = 1, **spec: Any) -> Cluster:
    nodes = {"controlPlane": {"count": planes}, "workers": {"count": workers}}
    found = {"provider": {"name": "nspawn"}, "nodes": nodes, **spec}
    return load.from_document({"metadata": {"name": "dev"}, "spec": found})


def answering(observed: Observed, *names: str, **unready: str) -> Observed:
    """Let the API have the nodes of these names, some not ready."""
    nodes = tuple(ApiNode(name=name, ready=name not in unready) for name in names)
    answers = {**observed.answers, "cp1": replace(AS_LEFT, nodes=nodes)}
    return replace(observed, answers=answers)


def going(*names: str) -> tuple[DeleteNode, ...]:
    return tuple(
        DeleteNode(
            node=name,
            role=Role.CONTROL_PLANE if name.startswith("cp") else Role.WORKER,
            reason=deletion.REASON,
        )
        for name in names
    )


ALL = ("cp1", "cp2", "cp3", "w1", "w2")


def test_workers_go_before_control_planes_and_after_new_nodes() -> None:
    after = cluster(planes=1, workers=1)
    after = replace(after, nodes=(*after.nodes, replace(after.nodes[-1], name="w9")))
    plan = diff(after, cluster(planes=3, workers=2), seen(*ALL))
    assert plan.refusals == ()
    assert plan.changes == (CreateNode(node="w9", role=Role.WORKER), *going("w2", "cp2", "cp3"))
    assert plan.deletions == going("w2", "cp2", "cp3")


def test_what_does_not_answer_goes_first() -> None:
    observed = answering(seen(*ALL), *ALL, cp3="down")
    plan = diff(cluster(planes=1, workers=2), cluster(planes=3, workers=2), observed)
    assert plan.deletions == going("cp3", "cp2")
    assert plan.refusals == ()


def test_a_node_without_a_machine_goes_when_the_cluster_has_it() -> None:
    before, after = cluster(workers=2), cluster(workers=1)
    observed = seen("cp1", "w1")
    assert diff(after, before, observed).deletions == going("w2"), "nobody can say that it is gone"
    assert diff(after, before, answering(observed, "cp1", "w1", "w2")).deletions == going("w2")
    assert diff(after, before, answering(observed, "cp1", "w1")).deletions == ()
    assert diff(after, before, Observed()).deletions == (), "there is no cluster"


def test_a_node_of_somebody_else_stays() -> None:
    observed = answering(seen("cp1", "w1"), "cp1", "w1", "theirs")
    assert diff(cluster(), cluster(), observed).deletions == ()


def test_a_machine_that_no_record_knows_goes_too() -> None:
    plane = ApiNode(name="x", labels={deletion.CONTROL_PLANE_LABEL: ""})
    answer = replace(AS_LEFT, nodes=(ApiNode(name="cp1"), ApiNode(name="w1"), plane))
    observed = seen("cp1", "w1", "x", "y")
    observed = replace(observed, answers={**observed.answers, "cp1": answer})
    found = diff(cluster(), cluster(), observed).deletions
    assert [(one.node, one.role) for one in found] == [
        ("y", Role.WORKER),
        ("x", Role.CONTROL_PLANE),
    ]


def refusals(desired: Cluster, recorded: Cluster, observed: Observed) -> list[Refuse]:
    """Return the refusals of deletions alone."""
    found = deletion.too_many(desired, recorded, observed)
    return [one for one in found if isinstance(one, Refuse)]


def test_the_last_control_plane_stays() -> None:
    before = cluster(planes=1)
    other = replace(before.nodes[0], name="cp9")
    after = replace(before, nodes=(other, *before.workers))
    (refused,) = refusals(after, before, seen("cp1", "w1"))
    assert "no control plane would be left" in refused.why
    assert "keep cp1" in refused.way_out
    assert diff(after, before, seen("cp1", "w1")).refusals
    # The other one is there and has joined.
    assert refusals(after, before, seen("cp1", "w1", "cp9")) == []
    # Nothing of Kubernetes is on it yet.
    assert refusals(after, before, Observed(machines={"cp1": machine("cp1")})) == []


def test_the_control_plane_at_which_all_reach_the_api_stays() -> None:
    before = cluster(planes=3)
    after = replace(before, nodes=before.nodes[1:])
    observed = seen("cp1", "cp2", "cp3", "w1")
    machines = {
        name: replace(machine(name), address=f"192.0.2.{number}")
        for number, name in enumerate(observed.machines)
    }
    answers = {
        name: replace(answer, nodes=(ApiNode(name=name),), endpoint="192.0.2.0:6443")
        for name, answer in observed.answers.items()
    }
    observed = replace(observed, machines=machines, answers=answers)
    (refused,) = refusals(after, before, observed)
    assert "all nodes reach the API at its address" in refused.why
    assert refused.way_out.startswith("keep cp1;")
    balanced = {"network": {"apiServerEndpoint": "lb.example:6443"}}
    before = cluster(planes=3, **balanced)
    after = replace(before, nodes=before.nodes[1:])
    names = {"cp1", "cp2", "cp3"}
    healthy = tuple(ApiNode(name=name) for name in sorted(names))
    answers = {name: replace(answer, nodes=healthy) for name, answer in answers.items()}
    assert refusals(after, before, replace(observed, answers=answers)) == []


@pytest.mark.parametrize(
    ("planes", "down", "stay", "refused"),
    [
        (3, ("cp2",), ("cp1", "cp2"), "of its 3 members cp2 does not answer"),
        (3, ("cp3",), ("cp1", "cp2"), ""),
        (3, ("cp2", "cp3"), ("cp1", "cp2"), "of its 3 members cp2, cp3 do not answer"),
        (2, ("cp2",), ("cp1",), "of its 2 members cp2 does not answer"),
        (5, ("cp4", "cp5"), ("cp1", "cp2", "cp3"), ""),
        (5, ("cp2",), ("cp1", "cp2", "cp3"), ""),
        (5, ("cp2",), ("cp1", "cp2"), "of its 3 members cp2 does not answer"),
    ],
)
def test_etcd_keeps_its_quorum(
    planes: int, down: tuple[str, ...], stay: tuple[str, ...], refused: str
) -> None:
    names = tuple(f"cp{number}" for number in range(1, planes + 1))
    before = cluster(planes=planes, workers=0)
    after = replace(before, nodes=tuple(node for node in before.nodes if node.name in stay))
    observed = answering(seen(*names), *names, **dict.fromkeys(down, "down"))
    found = refusals(after, before, observed)
    if refused:
        assert [refused in one.why for one in found] == [True]
        assert "back first" in found[0].way_out
    else:
        assert found == []


def test_a_machine_that_this_run_starts_counts_as_healthy() -> None:
    """A cluster that was stopped is started, and made smaller, by one run."""
    before, after = cluster(planes=3, workers=0), cluster(planes=1, workers=0)
    names = ("cp1", "cp2", "cp3")
    observed = replace(seen(*names, cp1=STOPPED), answers={})
    assert refusals(after, before, observed) == []
    # Those that go are not started: two of three do not answer.
    observed = replace(seen(*names, cp1=STOPPED, cp2=STOPPED, cp3=BROKEN), answers={})
    assert "cp2, cp3 do not answer" in refusals(after, before, observed)[0].why


def test_an_etcd_of_somebody_else_has_no_members_here() -> None:
    patches = {"clusterConfiguration": {"etcd": {"external": {"endpoints": ["https://e:2379"]}}}}
    before, after = cluster(planes=2, kubeadm=patches), cluster(kubeadm=patches)
    observed = answering(seen("cp1", "cp2", "w1"), "cp1", "cp2", "w1", cp2="down")
    assert refusals(after, before, observed) == []
    assert refusals(cluster(), cluster(planes=2), observed)
