"""What differs, and what becomes of it: the cases that the table over all fields does not have."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from ohmykube.config import load
from ohmykube.model import change
from ohmykube.model.cluster import Cluster, Node, NodeFile, Role
from ohmykube.model.machine import MachineState, Resize, Resizing
from ohmykube.planning import nodes
from ohmykube.planning.differences import Difference
from ohmykube.planning.observation import Observed
from tests.unit.planning.observing import AS_LEFT, LIVE, diff, machine, seen

ON_START = Resizing(cpus=Resize.ON_START, memory=Resize.ON_START, disk=Resize.ON_START)
RUNNING, STOPPED, BROKEN = MachineState.RUNNING, MachineState.STOPPED, MachineState.BROKEN


def cluster(spec: dict[str, Any] | None = None, **workers: Any) -> Cluster:
    if "names" not in workers:
        workers = {"count": 1, **workers}
    nodes = {"controlPlane": {}, "workers": workers}
    found = {"provider": {"name": "nspawn"}, "nodes": nodes, **(spec or {})}
    return load.from_document({"metadata": {"name": "dev"}, "spec": found})


def planes(*names: str) -> Cluster:
    return cluster({"nodes": {"controlPlane": {"names": list(names)}, "workers": {"count": 1}}})


BOTH = ("cp1", "w1")


def test_a_cluster_as_described_has_an_empty_plan() -> None:
    assert diff(cluster(), cluster(), seen(*BOTH)) == change.Plan()


def test_a_new_cluster_is_created() -> None:
    assert diff(cluster(), None, Observed()) == change.Plan(
        changes=(
            change.CreateNode(node="cp1", role=Role.CONTROL_PLANE),
            change.CreateNode(node="w1", role=Role.WORKER),
        )
    )


def test_machines_without_a_record_are_configured() -> None:
    observed = Observed(machines={"cp1": machine("cp1")}, answers={"cp1": AS_LEFT})
    assert diff(cluster(), None, observed).changes == (
        change.CreateNode(node="w1", role=Role.WORKER),
        change.FinishRun(),
    )


def test_machines_come_first_and_settings_last() -> None:
    before = cluster(labels={"e.com/a": "1"})
    after = cluster(
        {
            "artifacts": {"mirror": "/srv/mirror"},
            "network": {"flannel": {"backend": "host-gw"}},
        },
        names=["w1", "w2", "w3"],
        memory="2GiB",
    )
    observed = replace(seen("cp1", "w1", "w2", w1=STOPPED, w2=BROKEN), unfinished=True)
    assert [type(one) for one in diff(after, before, observed).changes] == [
        change.StartNode,
        change.RepairNode,
        change.CreateNode,
        change.ReconfigureNode,
        change.ReconfigureNode,
        change.ReconfigureCluster,
        change.FinishRun,
        change.UpdateSetting,
    ]


def test_labels_are_told_one_by_one() -> None:
    before = cluster(labels={"e.com/a": "1", "e.com/b": "2"})
    after = cluster(labels={"e.com/b": "3", "e.com/c": ""})
    field = 'spec.nodes.workers.labels["e.com/{}"]'
    assert diff(after, before, seen(*BOTH)).changes == tuple(
        change.ReconfigureNode(node="w1", field=field.format(key), old=old, new=new)
        for key, old, new in (("a", "1", None), ("b", "2", "3"), ("c", None, ""))
    )


def test_a_node_that_has_not_joined_gets_its_labels_when_it_does() -> None:
    after = cluster(labels={"e.com/a": "1"}, taints=["a:NoSchedule"])
    observed = replace(seen(*BOTH), begun=frozenset({"cp1"}), joined=frozenset({"cp1"}))
    assert diff(after, cluster(), observed) == change.Plan()


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (None, ["node-role.kubernetes.io/control-plane:NoSchedule"], True),
        (["a:NoSchedule", "b:NoSchedule"], ["b:NoSchedule", "a:NoSchedule"], True),
        (None, [], False),
        ([], None, False),
        (["a=1:NoSchedule"], ["a=2:NoSchedule"], False),
    ],
)
def test_taints_are_compared_as_the_node_has_them(before: Any, after: Any, same: bool) -> None:
    def of(taints: Any) -> Cluster:
        plane = {} if taints is None else {"taints": taints}
        return cluster({"nodes": {"controlPlane": plane, "workers": {"count": 1}}})

    assert (diff(of(after), of(before), seen(*BOTH)) == change.Plan()) is same
    workers = [cluster(taints=taints) for taints in (None, [])]
    assert diff(*workers, seen(*BOTH)) == change.Plan()


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "resizing", "state", "expected"),
    [
        (("cpus", 2, 4), LIVE, RUNNING, "changed"),
        (("memory", "4GiB", None), LIVE, RUNNING, "changed"),
        (("cpus", 2, 4), Resizing(), RUNNING, "does not change the cpus of a machine that exists"),
        (("cpus", 2, 4), Resizing(), STOPPED, "does not change the cpus"),
        (("memory", "4GiB", "2GiB"), ON_START, RUNNING, "changes when it starts, and it runs"),
        (("memory", "4GiB", "2GiB"), ON_START, STOPPED, "changed"),
        (("memory", "4GiB", "2GiB"), ON_START, BROKEN, "changed"),
        (("memory", "4GiB", None), ON_START, STOPPED, "given to new machines only"),
        (("memory", None, "4GiB"), ON_START, STOPPED, "changed"),
        (("disk", "20GiB", "30GiB"), ON_START, STOPPED, "changed"),
        (("disk", "20GiB", "10GiB"), ON_START, STOPPED, "a disk cannot become smaller"),
        (("disk", "20GiB", None), LIVE, STOPPED, "a disk cannot become smaller"),
        (("disk", None, "30GiB"), ON_START, STOPPED, "is not known"),
        (("disk", "20GiB", "10GiB"), Resizing(disk=Resize.MEANINGLESS), RUNNING, "written down"),
    ],
)
def test_sizes_change_as_the_provider_can(
    sizes: tuple[str, Any, Any], resizing: Resizing, state: MachineState, expected: str
) -> None:
    size, old, new = sizes
    before, after = cluster(**{size: old}), cluster(**{size: new})
    plan = diff(after, before, seen(*BOTH, resizing=resizing, w1=state))
    found = [one for one in plan.changes if not isinstance(one, change.StartNode)]
    found = [one for one in found if not isinstance(one, change.RepairNode)]
    assert plan.resizes is (expected == "changed")
    if expected in ("changed", "written down"):
        (one,) = found
        told = change.ReconfigureNode if expected == "changed" else change.UpdateSetting
        assert isinstance(one, told)
        assert (one.node, one.field) == ("w1", f"spec.nodes.workers.{size}")
        assert plan.refusals == ()
    else:
        (refused,) = plan.refusals
        assert expected in refused.why
        assert found == []


def test_a_node_without_a_machine_is_made_with_its_size() -> None:
    plan = diff(cluster(cpus=4), cluster(), seen("cp1", resizing=Resizing()))
    assert plan == change.Plan(changes=(change.CreateNode(node="w1", role=Role.WORKER),))


# -- what is fixed ---------------------------------------------------------------------------------

ANOTHER: dict[str, Any] = {
    "kubernetes": {"version": "1.35.4"},
    "provider": {"name": "nspawn", "options": {"suite": "trixie"}},
    "network": {"podCIDR": "10.9.0.0/16", "proxyMode": "nftables"},
    "kubeadm": {"clusterConfiguration": {"a": 1}, "joinConfiguration": {"b": 2}},
}


def fields(plan: change.Plan) -> set[str]:
    return {one.field for one in plan.refusals}


def test_what_no_node_has_yet_can_still_be_changed() -> None:
    """A first run that failed is corrected in the file and repeated."""
    nothing = Observed()
    assert fields(diff(cluster(ANOTHER), cluster(), nothing)) == set()
    machines = {node: machine(node) for node in BOTH}
    made = Observed(machines=machines, answers=dict.fromkeys(BOTH, AS_LEFT))
    options = {"spec.provider.options.suite"}
    assert fields(diff(cluster(ANOTHER), cluster(), made)) == options
    begun = replace(made, begun=frozenset({"cp1"}))
    version = "spec.kubernetes.version"
    assert fields(diff(cluster(ANOTHER), cluster(), begun)) == {*options, version}
    first = replace(begun, joined=frozenset({"cp1"}))
    join = "spec.kubeadm.joinConfiguration.b"
    found = fields(diff(cluster(ANOTHER), cluster(), first))
    assert found == {
        *options,
        version,
        "spec.network.podCIDR",
        "spec.network.proxyMode",
        "spec.kubeadm.clusterConfiguration.a",
    }
    assert fields(diff(cluster(ANOTHER), cluster(), seen(*BOTH))) == {*found, join}


def test_every_refusal_says_why_and_what_to_do() -> None:
    for one in diff(cluster(ANOTHER), cluster(), seen(*BOTH)).refusals:
        assert one.why
        assert "ohmykube down dev" in one.way_out


@pytest.mark.parametrize("planes", [("cp1",), ("cp1", "cp2", "cp3")])
def test_the_way_out_of_a_refusal_is_one(planes: tuple[str, ...]) -> None:
    """A new node takes the place of one that may leave; the one that all depend on may not."""
    names = (*planes, "w1", "w2")
    made = tuple(
        Node(name=name, role=Role.CONTROL_PLANE if name in planes else Role.WORKER)
        for name in names
    )
    before = replace(cluster(), nodes=made)
    file = NodeFile(path="/opt/own/x", sha256="0" * 64)
    after = replace(before, nodes=tuple(replace(node, files=(file,)) for node in made))
    there = {n: replace(machine(n), address=f"192.0.2.{i}") for i, n in enumerate(names)}
    answers = dict.fromkeys(names, AS_LEFT)
    answers["cp1"] = replace(AS_LEFT, endpoint="192.0.2.0:6443", nodes=())
    observed = replace(seen(*names), answers=answers, machines=there)
    refused = {one.node: one.way_out for one in diff(after, before, observed).refusals}
    assert refused.keys() == {*names}
    leaves = {name for name, way_out in refused.items() if "another name" in way_out}
    assert leaves == {*names} - {"cp1"}
    assert "ohmykube up --name OTHER" in refused["cp1"]


def test_the_provider_that_made_the_machines_is_any_provider() -> None:
    any_provider = replace(cluster(), provider="auto")
    assert diff(any_provider, cluster(), seen(*BOTH)) == change.Plan()
    other = replace(cluster(), provider="lima")
    assert fields(diff(other, cluster(), Observed())) == {"spec.provider.name"}


def test_an_option_of_a_node_that_is_still_to_be_made() -> None:
    def of(**disks: list[str]) -> Cluster:
        options = {"name": "lima", "options": {"disks": disks}}
        return cluster({"provider": options}, names=["w1", "w2"])

    before, observed = of(w1=["20GiB"]), seen(*BOTH)
    assert fields(diff(of(w1=["20GiB"], w2=["9GiB"]), before, observed)) == set()
    changed = diff(of(w1=["30GiB"], w2=["9GiB"]), before, observed)
    assert fields(changed) == {"spec.provider.options.disks.w1"}


def test_the_order_of_certificate_names_is_no_difference() -> None:
    def of(*names: str) -> Cluster:
        return cluster({"network": {"certSANs": list(names)}})

    assert diff(of("a.example", "b.example"), of("b.example", "a.example"), seen(*BOTH)) == (
        change.Plan()
    )


def test_flannels_settings_without_flannel_are_written_down() -> None:
    def of(backend: str) -> Cluster:
        return cluster({"network": {"cni": "none", "flannel": {"backend": backend}}})

    (found,) = diff(of("host-gw"), of("vxlan"), seen(*BOTH)).changes
    assert isinstance(found, change.UpdateSetting)


def test_true_is_not_one() -> None:
    def of(value: Any) -> Cluster:
        return cluster({"kubeadm": {"kubeletConfiguration": {"a": {"b": value}}}})

    field = "spec.kubeadm.kubeletConfiguration.a.b"
    assert fields(diff(of(True), of(1), seen(*BOTH))) == {field}
    assert fields(diff(of({}), of(None), seen(*BOTH))) == {field}
    assert fields(diff(of([{"c": True}]), of([{"c": 1}]), seen(*BOTH))) == {field}
    assert fields(diff(of([{"c": [1]}]), of([{"c": [1.0]}]), seen(*BOTH))) == set()


def test_a_new_field_of_a_node_is_what_it_says() -> None:
    """Nothing is passed over: a field that has no rule of its own follows its mutability."""
    (node,) = cluster().workers

    def of(*path: str) -> list[Any]:
        found = Difference(path=path, old=1, new=2)
        return [type(one) for one in nodes._as_said(node, found, seen(*BOTH), nodes.NEW_NODE)]

    assert of("spec", "template") == [change.UpdateSetting]
    assert of("spec", "network", "flannel", "backend") == [change.ReconfigureNode]
    assert of("spec", "nodes", "workers", "cpus") == [change.ReconfigureNode]
    assert of("spec", "network", "podCIDR") == [change.Refuse]
    assert of("spec", "nodes", "workers", "count") == [change.Refuse]


# -- roles and order -------------------------------------------------------------------------------


def test_a_node_keeps_its_role() -> None:
    nodes = {"controlPlane": {"names": ["cp1", "w1"]}, "workers": {"count": 0}}
    after = cluster({"nodes": nodes})
    (refused,) = diff(after, cluster(), seen(*BOTH)).refusals
    assert (refused.node, refused.old, refused.new) == ("w1", "worker", "control-plane")
    assert diff(after, cluster(), seen("cp1")).refusals == ()


def test_control_planes_stand_in_any_order() -> None:
    """Any one that answers speaks for the cluster."""
    before = planes("cp1", "cp2", "cp3")
    there = ("cp1", "cp2", "cp3", "w1")
    assert diff(planes("cp3", "cp1", "cp2"), before, seen(*there)) == change.Plan()
    plan = diff(planes("cp0", "cp1", "cp2", "cp3"), before, seen(*there))
    assert plan.changes == (change.CreateNode(node="cp0", role=Role.CONTROL_PLANE),)
    assert plan.refusals == ()
    # Its machine is lost: another one goes on.
    assert diff(planes("cp2", "cp3", "cp4"), before, seen("cp2", "cp3", "w1")).refusals == ()


# -- hosts -----------------------------------------------------------------------------------------


def on_host(**host: Any) -> Cluster:
    nodes = {
        "controlPlane": {"hosts": [{"address": "192.0.2.1"}]},
        "workers": {"hosts": [{"address": "192.0.2.2", **host}]},
    }
    spec = {"provider": {"name": "ssh"}, "nodes": nodes}
    return load.from_document({"metadata": {"name": "dev"}, "spec": spec})


def test_the_address_in_the_cluster_may_be_named() -> None:
    before = on_host()
    (found,) = before.workers
    assert found.host is not None
    named = dataclasses.replace(found, host=replace(found.host, node_ip="192.0.2.2"))
    after = replace(before, nodes=(*before.control_planes, named))
    assert diff(after, before, seen(*BOTH)) == change.Plan()


def test_a_host_that_was_never_taken_can_be_another_one() -> None:
    after = on_host(address="192.0.2.9", user="me", nodeIP="198.51.100.1")
    assert diff(after, on_host(), seen("cp1")) == change.Plan(
        changes=(change.CreateNode(node="w1", role=Role.WORKER),)
    )
    found = {"address", "nodeIP"}
    refusals = diff(after, on_host(), seen(*BOTH)).refusals
    assert {one.field.rpartition(".")[2] for one in refusals} == found
