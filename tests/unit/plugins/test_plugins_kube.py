"""kube_apply and kube_nodes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import pods
from ansible_collections.ohmykube.cluster.plugins.modules import kube_drain, kube_nodes

if TYPE_CHECKING:
    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux

KUBECTL = r"""
while case "$1" in --*) true ;; *) false ;; esac do shift 2; done
case "$1" in
diff)
  cat >$NOTES/manifest
  case "$(cat $NOTES/diff 2>/dev/null)" in
  same) exit 0 ;;
  new) echo 'Error from server (NotFound): namespaces "x" not found' >&2; exit 1 ;;
  status) echo same >$NOTES/diff; echo "+ numberReady: 2"; exit 1 ;;
  broken) echo 'error: the server is down' >&2; exit 1 ;;
  *) echo "+ replicas: 2"; exit 1 ;;
  esac ;;
apply) echo same >$NOTES/diff; echo "namespace/x serverside-applied" ;;
get)
  case "$2" in
  nodes) cat $NOTES/nodes.json ;;
  lease)
    cat $NOTES/lease.json 2>/dev/null
    cp $NOTES/lease-next.json $NOTES/lease.json 2>/dev/null ;;
  node) cat $NOTES/node-$3.json 2>/dev/null ;;
  pods) cat $NOTES/pods.json ;;
  poddisruptionbudgets) cat $NOTES/budgets.json ;;
  *) cat $NOTES/there 2>/dev/null ;;
  esac ;;
delete) rm -f $NOTES/there; echo "namespace/x deleted" ;;
drain)
  if [ -e $NOTES/blocked ]; then
    echo 'error when evicting pods/"site-1" -n "web" (will retry after 5s)' >&2; exit 1
  fi
  echo '{"items": []}' >$NOTES/pods.json ;;
esac
exit 0
"""


OBJECT = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}


@pytest.fixture
def plane(node: FakeNode) -> tuple[FakeNode, str]:
    node.program("kubectl", KUBECTL)
    return node, str(node.write("etc/kubernetes/admin.conf"))


@pytest.mark.parametrize("state", ["changed", "new"])
def test_apply_when_it_differs(
    run_module: RunModule, plane: tuple[FakeNode, str], state: str
) -> None:
    node, kubeconfig = plane
    (node.notes / "diff").write_text(state)
    params = {
        "manifest": "kind: Namespace\n",
        "kubeconfig": kubeconfig,
        "rollouts": ["ns/deploy/x"],
    }
    first = run_module("kube_apply", **params)
    assert first["changed"] is True
    assert first["applied"] == ["namespace/x serverside-applied"]
    assert (node.notes / "manifest").read_text() == "kind: Namespace\n"
    assert any("rollout status deploy/x --namespace ns" in call for call in node.calls("kubectl"))
    node.forget()
    assert run_module("kube_apply", **params)["changed"] is False
    assert not any(" apply " in call for call in node.calls("kubectl"))


def test_what_a_controller_wrote_meanwhile_is_no_change(
    run_module: RunModule, plane: tuple[FakeNode, str]
) -> None:
    node, kubeconfig = plane
    (node.notes / "diff").write_text("status")
    result = run_module("kube_apply", manifest="x: 1", kubeconfig=kubeconfig)
    assert result["changed"] is False
    assert not any(" apply " in call for call in node.calls("kubectl"))


def test_apply_check_mode(run_module: RunModule, plane: tuple[FakeNode, str]) -> None:
    node, kubeconfig = plane
    result = run_module("kube_apply", manifest="x: 1", kubeconfig=kubeconfig, check=True)
    assert "+ replicas: 2" in result["diff"]["prepared"]
    assert not any(" apply " in call for call in node.calls("kubectl"))
    virgin = run_module("kube_apply", manifest="x: 1", kubeconfig="/nonexistent", check=True)
    assert virgin["changed"] is True


def test_apply_failure_is_told(run_module: RunModule, plane: tuple[FakeNode, str]) -> None:
    node, kubeconfig = plane
    (node.notes / "diff").write_text("broken")
    result = run_module("kube_apply", manifest="x: 1", kubeconfig=kubeconfig, fails=True)
    assert "the server is down" in result["msg"]


def test_delete(run_module: RunModule, plane: tuple[FakeNode, str]) -> None:
    node, kubeconfig = plane
    (node.notes / "there").write_text(json.dumps(OBJECT))
    params = {"manifest": "x: 1", "kubeconfig": kubeconfig, "state": "absent"}
    assert run_module("kube_apply", check=True, **params)["changed"] is True
    assert run_module("kube_apply", **params)["changed"] is True
    assert run_module("kube_apply", **params)["changed"] is False


def test_labels_and_taints(run_module: RunModule, plane: tuple[FakeNode, str]) -> None:
    node, kubeconfig = plane
    listed = {
        "metadata": {"name": "w1", "labels": {"a": "1"}},
        "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]},
    }
    (node.notes / "nodes.json").write_text(json.dumps({"items": [listed]}))
    wanted = {"w1": {"labels": {"a": "1", "b": "2"}, "taints": ["k:NoSchedule", "m=n:NoExecute"]}}
    result = run_module("kube_nodes", nodes=wanted, kubeconfig=kubeconfig)
    assert result["changes"] == ["label w1 b=2", "taint w1 m=n:NoExecute"]
    assert any("label nodes w1 --overwrite b=2" in call for call in node.calls("kubectl"))
    lost = {"absent_labels": ["a", "c"], "absent_taints": ["k:NoSchedule", "k:NoExecute"]}
    result = run_module("kube_nodes", nodes={"w1": lost}, kubeconfig=kubeconfig)
    assert result["changes"] == ["label w1 a-", "taint w1 k:NoSchedule-"]
    assert any("taint nodes w1 --overwrite k:NoSchedule-" in c for c in node.calls("kubectl"))
    same = {"w1": {"labels": {"a": "1"}, "absent_labels": ["c"]}}
    assert run_module("kube_nodes", nodes=same, kubeconfig=kubeconfig)["changed"] is False
    unknown = run_module("kube_nodes", nodes={"w9": {}}, kubeconfig=kubeconfig, fails=True)
    assert "no node w9" in unknown["msg"]


def node_object(name: str, address: str, ready: str = "True") -> dict[str, object]:
    """Return a Node object."""
    return {
        "metadata": {"name": name},
        "spec": {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def lease(node: FakeNode, *renewals: str) -> None:
    """Let the lease of a node be renewed at these times, one for each look."""
    for file, time in zip(("lease.json", "lease-next.json"), renewals, strict=True):
        spec = {"renewTime": time, "leaseDurationSeconds": 40}
        (node.notes / file).write_text(json.dumps({"spec": spec}))


@pytest.mark.parametrize(
    ("address", "ready", "renewals"),
    [
        ("10.0.0.21", "True", ("1", "2")),  # its own address: whoever renews is not the old one
        ("10.0.0.99", "Unknown", ("1", "2")),
        ("10.0.0.99", "True", ("1", "1")),
    ],
    ids=["at-its-address", "not-ready", "silent"],
)
def test_the_node_of_a_machine_made_anew_is_deleted(
    run_module: RunModule,
    plane: tuple[FakeNode, str],
    address: str,
    ready: str,
    renewals: tuple[str, str],
) -> None:
    node, kubeconfig = plane
    listed = {"items": [node_object("w1", "10.0.0.21", ready)]}
    (node.notes / "nodes.json").write_text(json.dumps(listed))
    lease(node, *renewals)
    params = {"replaced": {"w1": address, "w2": ""}, "kubeconfig": kubeconfig}
    assert run_module("kube_nodes", check=True, **params)["changes"] == ["delete w1"]
    assert not any(" delete node " in call for call in node.calls("kubectl"))
    assert run_module("kube_nodes", **params)["changes"] == ["delete w1"]
    assert any("delete node w1 --ignore-not-found" in call for call in node.calls("kubectl"))


def test_a_node_that_is_alive_elsewhere_stays(
    run_module: RunModule, plane: tuple[FakeNode, str], waited: list[float]
) -> None:
    node, kubeconfig = plane
    listed = {"items": [node_object("w1", "10.0.0.21")]}
    (node.notes / "nodes.json").write_text(json.dumps(listed))
    lease(node, "1", "2")
    params = {"replaced": {"w1": "10.0.0.99"}, "kubeconfig": kubeconfig}
    said = str(run_module("kube_nodes", fails=True, **params)["msg"])
    assert "a node called w1 is alive in the cluster at 10.0.0.21" in said
    assert waited == [2.5]
    assert not any(" delete " in call for call in node.calls("kubectl"))


def test_nodes_are_deleted_once(run_module: RunModule, plane: tuple[FakeNode, str]) -> None:
    node, kubeconfig = plane
    listed = {"items": [node_object("w1", "10.0.0.21")]}
    (node.notes / "nodes.json").write_text(json.dumps(listed))
    params = {"absent": ["w1", "w9"], "kubeconfig": kubeconfig}
    assert run_module("kube_nodes", **params)["changes"] == ["delete w1"]
    (node.notes / "nodes.json").write_text('{"items": []}')
    assert run_module("kube_nodes", **params)["changed"] is False


# -- drain -----------------------------------------------------------------------------------------


def pod(name: str, owner: str = "ReplicaSet", phase: str = "Running", **more: object) -> object:
    """Return a pod of the namespace ``web``."""
    owners = [{"kind": owner, "controller": True}] if owner else []
    metadata = {"namespace": "web", "name": name, "ownerReferences": owners, **more}
    return {"metadata": metadata, "status": {"phase": phase}}


PODS = [
    pod("site-1", labels={"app": "site"}),
    pod("agent", owner="DaemonSet"),
    pod("etcd-w1", owner="Node", annotations={"kubernetes.io/config.mirror": "x"}),
    pod("done", owner="DaemonSet", phase="Failed"),
]
BUDGET = {
    "metadata": {"namespace": "web", "name": "site"},
    "spec": {"selector": {"matchLabels": {"app": "site"}}},
    "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1},
}


@pytest.fixture
def busy(plane: tuple[FakeNode, str]) -> tuple[FakeNode, str]:
    """Give a cluster whose node ``w1`` has pods."""
    node, _ = plane
    (node.notes / "node-w1.json").write_text(json.dumps(node_object("w1", "10.0.0.21")))
    (node.notes / "pods.json").write_text(json.dumps({"items": PODS}))
    (node.notes / "budgets.json").write_text(json.dumps({"items": [BUDGET]}))
    return plane


def test_drain(run_module: RunModule, busy: tuple[FakeNode, str]) -> None:
    node, kubeconfig = busy
    params = {"nodes": ["w1", "w9"], "kubeconfig": kubeconfig, "timeout": 60}
    checked = run_module("kube_drain", check=True, **params)
    assert checked["nodes"] == {"w1": {"cordoned": True, "moved": ["web/site-1", "web/done"]}}
    assert not any(" drain " in call or " cordon " in call for call in node.calls("kubectl"))
    result = run_module("kube_drain", **params, delete_emptydir_data=True, force=True)
    assert (result["changed"], result["nodes"]) == (True, checked["nodes"])
    calls = node.calls("kubectl")
    begun = [call for call in calls if " label " in call or " cordon " in call]
    assert [call.partition(" nodes ")[2] or call.partition(" cordon ")[2] for call in begun] == [
        f"w1 --overwrite {kube_drain.LEAVING}=",
        "w1",
    ], "a node that is cordoned by us is known as such from the first moment"
    drain = next(call for call in calls if " drain " in call)
    assert drain.endswith(
        "drain w1 --ignore-daemonsets --delete-emptydir-data --force --grace-period=-1"
        " --timeout=60s"
    )
    cordoned = {**node_object("w1", "10.0.0.21"), "spec": {"unschedulable": True}}
    (node.notes / "node-w1.json").write_text(json.dumps(cordoned))
    node.forget()
    assert run_module("kube_drain", **params)["changed"] is False
    verbs = (" drain ", " cordon ", " label ")
    assert not [call for call in node.calls("kubectl") if any(verb in call for verb in verbs)]


def test_a_drain_that_a_budget_holds_names_both(
    run_module: RunModule, busy: tuple[FakeNode, str]
) -> None:
    node, kubeconfig = busy
    (node.notes / "blocked").touch()
    result = run_module("kube_drain", nodes=["w1"], kubeconfig=kubeconfig, fails=True)
    reason = "budget web/site allows no disruption: 1 of its pods are healthy, and 1 must be"
    assert result["blocked"] == [
        {"pod": "web/site-1", "reasons": [reason]},
        {"pod": "web/done", "reasons": []},
    ]
    assert f"node w1 is not empty: web/site-1 ({reason}); web/done" in str(result["msg"])
    assert "kubectl uncordon w1" in str(result["msg"])
    assert "will retry" in str(result["output"])


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "site"}}, True),
        ({"matchLabels": {"app": "other"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["site"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["site"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Whatever"}]}, False),
    ],
)
def test_selectors(selector: dict[str, Any] | None, *, matches: bool) -> None:
    assert pods.selects(selector, {"app": "site"}) is matches


def test_a_budget_holds_pods_of_its_own_namespace_alone() -> None:
    other = {**BUDGET, "metadata": {"namespace": "other", "name": "site"}}
    free = {**BUDGET, "status": {"disruptionsAllowed": 1}}
    assert pods.holding(PODS[0], [other, free]) == []


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("k:NoSchedule", "k=:NoSchedule"),
        ("k=v:NoExecute", "k=v:NoExecute"),
        ("a/b:NoExecute", "a/b=:NoExecute"),
    ],
)
def test_taint_spelling(text: str, normal: str) -> None:
    assert kube_nodes.normal_taint(text) == normal
