"""Settings that a node was made with: what is said otherwise later is named, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.filter import kubeadm as filters
from ansible_collections.ohmykube.cluster.plugins.module_utils import kubeadm_settings

NODE = {"cgroup_version": 2, "systemd": True, "in_container": False}
SETTINGS: dict[str, Any] = {
    "kubernetes_version": "1.36.3",
    "node_name": "cp1",
    "node_ip": "192.0.2.11",
    "control_plane_endpoint": "192.0.2.11:6443",
    "pod_cidr": "10.244.0.0/16",
    "service_cidr": "10.96.0.0/16",
    "dns_domain": "cluster.local",
    "proxy_mode": "iptables",
    "node_labels": {"a": "b"},
    "node_taints": ["x:NoSchedule"],
    "cert_sans": ["a.example"],
}
Documents = list[dict[str, Any]]


def made(**more: Any) -> Documents:
    """Return all that kubeadm is given, of a first control plane and of a worker."""
    settings = {**SETTINGS, **more}
    init: Documents = filters.kubeadm_init_documents(settings, NODE)
    return [*init, filters.kubeadm_join_document(settings, NODE)]


def arguments(*pairs: str) -> list[dict[str, str]]:
    return [dict(zip(("name", "value"), pair.split("="), strict=True)) for pair in pairs]


NAMED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "a name in the certificate": (
        {"cert_sans": ["b"]},
        {"ClusterConfiguration.apiServer.certSANs"},
    ),
    "none any more": ({"cert_sans": []}, {"ClusterConfiguration.apiServer.certSANs"}),
    "the proxy": ({"proxy_mode": "nftables"}, {"KubeProxyConfiguration.mode"}),
    "a kubelet's setting": (
        {"kubelet_configuration": {"maxPods": 42, "evictionHard": {"memory.available": "1Gi"}}},
        {"KubeletConfiguration.maxPods", "KubeletConfiguration.evictionHard.memory.available"},
    ),
    "an argument": (
        {"cluster_configuration": {"apiServer": {"extraArgs": arguments("v=4", "v=5")}}},
        {"ClusterConfiguration.apiServer.extraArgs.v"},
    ),
    "of ours": (
        {
            "cluster_configuration": {
                "controllerManager": {"extraArgs": arguments("kube-api-qps=9")}
            }
        },
        {"ClusterConfiguration.controllerManager.extraArgs.kube-api-qps"},
    ),
    "a node's address": (
        {"node_ip": "192.0.2.99"},
        {
            "InitConfiguration.nodeRegistration.kubeletExtraArgs.node-ip",
            "JoinConfiguration.nodeRegistration.kubeletExtraArgs.node-ip",
        },
    ),
    "a feature that is off": (
        {"kube_proxy_configuration": {"featureGates": {"X": False}}},
        {"KubeProxyConfiguration.featureGates.X"},
    ),
}
ELSEWHERE: dict[str, dict[str, Any]] = {
    "labels": {"node_labels": {"c": "d"}},
    "taints": {"node_taints": []},
    "the networks": {"pod_cidr": "10.1.0.0/16", "service_cidr": "10.2.0.0/16", "dns_domain": "x"},
    "the endpoint": {"control_plane_endpoint": "lb:6443"},
    "the version": {"kubernetes_version": "1.36.4"},
    "the name": {"node_name": "other"},
    "errors to ignore": {"ignore_preflight_errors": ["Swap"]},
    "a null": {"kubelet_configuration": {"maxPods": None}},
}


@pytest.mark.parametrize(("more", "names"), NAMED.values(), ids=NAMED)
def test_what_would_not_come_about_is_named(more: dict[str, Any], names: set[str]) -> None:
    """Whether it was said then and is not now, or the other way about."""
    before, after = made(), made(**more)
    assert set(kubeadm_settings.differing(kubeadm_settings.sums(before), after)) == names
    assert set(kubeadm_settings.differing(kubeadm_settings.sums(after), before)) == names


@pytest.mark.parametrize("more", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_judged_elsewhere_is_not(more: dict[str, Any]) -> None:
    assert kubeadm_settings.differing(kubeadm_settings.sums(made()), made(**more)) == []


def test_a_node_of_which_nothing_is_known_differs_in_nothing() -> None:
    assert kubeadm_settings.differing(None, made()) == []
    assert kubeadm_settings.differing({}, made()) != []


def test_the_order_of_arguments_and_keys_does_not_count() -> None:
    before = made(cluster_configuration={"scheduler": {"extraArgs": arguments("v=4", "w=1")}})
    after = copy.deepcopy(before)
    after[1]["scheduler"]["extraArgs"].reverse()
    assert kubeadm_settings.differing(kubeadm_settings.sums(before), after) == []
    turned = [dict(reversed(document.items())) for document in before]
    assert kubeadm_settings.sum_of(turned) == kubeadm_settings.sum_of(before)
    assert kubeadm_settings.sum_of(after) != kubeadm_settings.sum_of(before)


def test_no_value_is_kept() -> None:
    secret = "do-not-keep"
    found = kubeadm_settings.sums(made(cert_sans=[secret], proxy_mode=secret))
    assert secret not in repr(found)
