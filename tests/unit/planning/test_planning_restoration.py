"""Nodes that are not as they were left, or would be left otherwise today."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.config import load
from ohmykube.model import change
from ohmykube.model.change import ConfigureNode
from ohmykube.model.machine import MachineState
from ohmykube.model.node_state import LEAVING, ApiNode, AppliedObject, NodeState
from ohmykube.planning import diff as planning
from tests.unit.planning.observing import AS_LEFT, CONFIGURED, WANTED, diff, seen

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster
    from ohmykube.planning.observation import Observed

BOTH = ("cp1", "w1")


def cluster(**workers: Any) -> Cluster:
    spec = {"provider": {"name": "nspawn"}, "nodes": {"workers": {"count": 1, **workers}}}
    return load.from_document({"metadata": {"name": "dev"}, "spec": spec})


def answering(node: str, answer: NodeState) -> Observed:
    observed = seen(*BOTH)
    return replace(observed, answers={**observed.answers, node: answer})


def configure(*reasons: str, node: str = "w1") -> tuple[ConfigureNode, ...]:
    return (ConfigureNode(node=node, reasons=reasons),)


def test_a_node_that_differs_is_configured_and_no_other() -> None:
    gone = ("/etc/a is gone", "containerd.service is inactive")
    found = diff(cluster(), cluster(), answering("w1", replace(AS_LEFT, differs=gone)))
    assert found.changes == configure(*gone)


def test_a_node_that_others_configured_is_configured_again() -> None:
    for record in ("other", ""):
        found = diff(cluster(), cluster(), answering("w1", replace(AS_LEFT, record=record)))
        assert found.changes == configure("something other than `up` has configured it")


def test_a_node_that_does_not_answer_is_looked_at() -> None:
    observed = seen(*BOTH)
    observed = replace(observed, answers={"cp1": AS_LEFT})
    assert diff(cluster(), cluster(), observed).changes == configure("it was never reached")
    observed = replace(observed, problems={"w1": "connection refused"})
    told = "it does not answer: connection refused"
    assert diff(cluster(), cluster(), observed).changes == configure(told)


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("release", "another release of ohmykube"),
        ("artifacts", "other packages or images"),
        ("values", "other values"),
    ],
)
def test_what_it_would_be_configured_from_today(field: str, told: str) -> None:
    wanted = {"cp1": WANTED, "w1": replace(WANTED, **{field: "2"})}
    configured = dict.fromkeys(BOTH, CONFIGURED)
    plan = planning.diff(cluster(), cluster(), seen(*BOTH), wanted, configured)
    (found,) = plan.changes
    assert isinstance(found, ConfigureNode)
    assert found.node == "w1"
    assert told in found.reasons[0]


def test_what_is_not_known_is_no_agreement() -> None:
    configured = {"cp1": CONFIGURED}
    plan = planning.diff(cluster(), cluster(), seen(*BOTH), None, configured)
    assert [(one.node, one.reasons) for one in plan.changes if isinstance(one, ConfigureNode)] == [
        ("cp1", ("its packages or images are not all in the cache, and cannot be compared",)),
        ("w1", ("no run has configured it to the end",)),
    ]


def test_another_value_that_is_named_is_named_once() -> None:
    wanted = {"cp1": replace(WANTED, values="2"), "w1": replace(WANTED, values="2")}
    configured = dict.fromkeys(BOTH, CONFIGURED)

    def kinds(after: Cluster, before: Cluster) -> list[tuple[type, str]]:
        plan = planning.diff(after, before, seen(*BOTH), wanted, configured)
        return [(type(one), getattr(one, "node", "")) for one in plan.changes]

    assert kinds(cluster(labels={"e.com/a": "1"}), cluster()) == [
        (change.ReconfigureNode, "w1"),
        (ConfigureNode, "cp1"),
    ]
    network = replace(cluster().network, flannel_backend="host-gw")
    assert kinds(replace(cluster(), network=network), cluster()) == [
        (change.ReconfigureCluster, "")
    ]


def test_nodes_that_are_made_or_started_are_configured_anyhow() -> None:
    observed = replace(seen(*BOTH, w1=MachineState.STOPPED), answers={"cp1": AS_LEFT})
    assert diff(cluster(), cluster(), observed).changes == (change.StartNode(node="w1"),)
    unfinished = replace(answering("w1", NodeState()), unfinished=True)
    assert diff(cluster(), cluster(), unfinished).changes == (change.FinishRun(),)


def api(*nodes: ApiNode) -> Observed:
    return answering("cp1", replace(AS_LEFT, nodes=(ApiNode(name="cp1"), *nodes)))


def test_labels_and_taints_that_somebody_changed() -> None:
    wanted = cluster(
        labels={"e.com/a": "1", "e.com/b": "2"}, taints=["k=v:NoSchedule", "l:NoExecute"]
    )
    right = ApiNode(
        name="w1",
        labels={"e.com/a": "1", "e.com/b": "2", "theirs": "x"},
        taints=frozenset({"k=v:NoSchedule", "l=:NoExecute", "theirs=:NoSchedule"}),
    )
    assert diff(wanted, wanted, api(right)) == change.Plan()
    wrong = replace(right, labels={"e.com/a": "7"}, taints=frozenset({"k=w:NoSchedule"}))
    assert diff(wanted, wanted, api(wrong)).changes == configure(
        "label e.com/a is '7'",
        "label e.com/b is gone",
        "taint k=v:NoSchedule is gone",
        "taint l:NoExecute is gone",
    )
    # Another value of the file is told as that.
    after = cluster(labels={"e.com/a": "7"}, taints=["k=w:NoSchedule"])
    assert {type(one) for one in diff(after, wanted, api(right)).changes} == {
        change.ReconfigureNode
    }


@pytest.mark.parametrize("unschedulable", [True, False])
def test_a_node_that_was_to_be_deleted_takes_pods_again(unschedulable: bool) -> None:
    found = ApiNode(name="w1", labels={LEAVING: ""}, unschedulable=unschedulable)
    told = "it takes no pods, because it was to be deleted"
    assert diff(cluster(), cluster(), api(found)).changes == configure(told)
    others = ApiNode(name="w1", unschedulable=unschedulable)
    assert diff(cluster(), cluster(), api(others)) == change.Plan(), "somebody wants it so"


def test_a_taint_that_nobody_described_may_go() -> None:
    """Who takes kubeadm's own taint off a control plane keeps it so."""
    assert diff(cluster(), cluster(), api(ApiNode(name="w1"))) == change.Plan()


def test_a_node_that_the_api_does_not_have_is_for_who_waits() -> None:
    assert diff(cluster(), cluster(), api()) == change.Plan()


def test_what_was_applied_is_applied_again_from_one_control_plane() -> None:
    changed = {"ConfigMap n/c": AppliedObject(applied_at=5, problem="ConfigMap n/c is gone")}
    observed = answering("cp1", replace(AS_LEFT, objects=changed))
    found = diff(cluster(), cluster(), observed).changes
    assert found == configure("ConfigMap n/c is gone", node="cp1")


def test_who_applied_last_knows_what_it_is_to_be() -> None:
    old = {"ConfigMap n/c": AppliedObject(applied_at=5, problem="ConfigMap n/c is gone")}
    new = {"ConfigMap n/c": AppliedObject(applied_at=6)}
    observed = seen(*BOTH)
    answers = {
        "cp1": replace(AS_LEFT, objects=old),
        "w1": replace(AS_LEFT, objects=new),
    }
    assert diff(cluster(), cluster(), replace(observed, answers=answers)) == change.Plan()


def test_without_a_running_control_plane_nobody_applies() -> None:
    changed = {"ConfigMap n/c": AppliedObject(applied_at=5, problem="gone")}
    observed = seen(*BOTH, cp1=MachineState.STOPPED)
    answers = {"w1": replace(AS_LEFT, objects=changed)}
    assert diff(cluster(), cluster(), replace(observed, answers=answers)).changes == (
        change.StartNode(node="cp1"),
    )
