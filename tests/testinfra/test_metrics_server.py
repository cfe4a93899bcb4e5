"""What the role metrics_server gives: all nodes and pods are measured, and kubectl shows it."""

from __future__ import annotations

import json
from typing import Any

ADMIN = "kubectl --kubeconfig /etc/kubernetes/admin.conf"


def asked_of(host: Any) -> bool:
    """Tell whether this is the node that is asked of the cluster."""
    return bool(host.check_output("hostname") == "cp1")


def test_every_node_is_measured(host: Any) -> None:
    if not asked_of(host):
        return
    nodes = host.check_output(f"{ADMIN} get nodes -oname").split()
    found = json.loads(host.check_output(f"{ADMIN} get --raw /apis/metrics.k8s.io/v1beta1/nodes"))
    used = {f"node/{one['metadata']['name']}": one["usage"] for one in found["items"]}
    assert set(used) == set(nodes)
    assert all(one["memory"] not in ("", "0") for one in used.values())


def test_kubectl_shows_what_pods_use(host: Any) -> None:
    if not asked_of(host):
        return
    said = host.check_output(f"{ADMIN} top pods --namespace kube-system --no-headers")
    assert "kube-apiserver-cp1" in said


def test_who_may_view_may_see_it(host: Any) -> None:
    if not asked_of(host):
        return
    role = host.check_output(f"{ADMIN} get clusterrole view -ojson")
    groups = [group for rule in json.loads(role)["rules"] for group in rule["apiGroups"]]
    assert "metrics.k8s.io" in groups
