"""What the record says while a run works, and afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.planning import recording
from ohmykube.planning.observation import Observed
from tests.unit.planning.observing import diff, seen

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster


def cluster(network: dict[str, Any] | None = None, **workers: Any) -> Cluster:
    spec = {
        "provider": {"name": "nspawn"},
        "nodes": {"controlPlane": {}, "workers": workers},
        "network": network or {},
    }
    return load.from_document({"metadata": {"name": "dev"}, "spec": spec})


def test_a_new_cluster_is_what_is_described() -> None:
    wanted = cluster(count=1)
    plan = diff(wanted, None, Observed())
    assert recording.under_way(wanted, None, Observed(), plan) == wanted
    assert recording.united(wanted, None, plan) == wanted
    # A first run that came to nothing has left nothing to be remembered.
    failed = cluster({"podCIDR": "10.9.0.0/16"}, count=2)
    assert recording.under_way(wanted, failed, Observed(), plan) == wanted


def test_a_run_under_way_keeps_what_was_and_adds_what_may_come() -> None:
    before = cluster(
        names=["w1", "w9"], labels={"e.com/a": "1", "e.com/b": "2"}, taints=["a=1:NoSchedule"]
    )
    after = cluster(
        {"flannel": {"backend": "host-gw"}},
        names=["w1", "w2"],
        cpus=8,
        labels={"e.com/b": "3", "e.com/c": ""},
        taints=["a=2:NoSchedule", "b:NoExecute"],
    )
    after = replace(after, sources=replace(after.sources, mirror="/srv/mirror"))
    observed = seen("cp1", "w1", "w9")
    plan = diff(after, before, observed)
    found = recording.under_way(after, before, observed, plan)
    _, w1, w2, w9 = found.nodes
    assert [node.name for node in found.nodes] == ["cp1", "w1", "w2", "w9"]
    assert w1.cpus == 2
    assert w1.labels == {"e.com/a": "1", "e.com/b": "3", "e.com/c": ""}
    assert list(map(str, w1.taints or ())) == ["a=2:NoSchedule", "b:NoExecute"]
    assert w2 == after.nodes[2]
    assert w9 == before.nodes[2]
    assert found.network == before.network
    assert found.sources.mirror == "/srv/mirror"
    assert load.from_document(to_document(found)) == found
    whole = recording.united(after, before, plan)
    assert whole == replace(after, nodes=(*after.nodes, w9))


def test_kubeadms_own_taint_is_known_while_it_goes() -> None:
    before = cluster(count=0)
    (plane,) = before.nodes
    after = replace(before, nodes=(replace(plane, taints=()),))
    observed = seen("cp1")
    found = recording.under_way(after, before, observed, diff(after, before, observed))
    assert list(map(str, found.nodes[0].taints or ())) == [
        "node-role.kubernetes.io/control-plane:NoSchedule"
    ]
    same = recording.under_way(before, before, observed, diff(before, before, observed))
    assert same == before


def test_a_node_that_is_to_go_is_known_until_it_is_gone() -> None:
    """Its machine may have been removed before the run was killed, and the cluster still has it."""
    before, after = cluster(count=2), cluster(count=1)
    for there in (("cp1", "w1", "w2"), ("cp1", "w1")):
        observed = seen(*there)
        found = recording.under_way(after, before, observed, diff(after, before, observed))
        assert found == before
