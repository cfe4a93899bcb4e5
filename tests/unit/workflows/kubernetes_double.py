"""A Kubernetes in memory, to which the inventory of a run is applied as the roles apply it.

What the roles leave to modules and filters is done by these. So what a second play does not bring
about here, such as another document for ``kubeadm init``, it does not bring about on nodes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.ohmykube.cluster.plugins.filter import kubeadm
from ansible_collections.ohmykube.cluster.plugins.modules import kube_nodes

from ohmykube.ansible.variables import CONTROL_PLANE_GROUP
from ohmykube.model.node_state import ApiNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ohmykube.ansible.inventory import HostEntry

DEFAULT_TAINT = "node-role.kubernetes.io/control-plane=:NoSchedule"
FACTS = {"cgroup_version": 2, "systemd": True, "in_container": False}
# The role's own defaults of what the CLI does not always say; see roles/kubeadm/defaults.
DEFAULTS = {"kubeadm_node_labels": {}, "kubeadm_cert_sans": []}
SETTINGS = (
    "kubernetes_version", "node_name", "node_ip", "node_labels", "node_taints", "pod_cidr",
    "service_cidr", "dns_domain", "proxy_mode", "cert_sans", "init_configuration",
    "join_configuration", "cluster_configuration", "kubelet_configuration",
    "kube_proxy_configuration",
)  # fmt: skip
"""What ``__kubeadm_settings`` of the role takes over from the variable with ``kubeadm_`` before."""


@dataclass
class NodeObject:
    """What the API server has of a node."""

    document: dict[str, Any]
    """With which it was made or joined, without labels and taints."""
    labels: dict[str, str]
    taints: set[str]
    record: str = ""
    """What the node has recorded: a hash of what it was configured from."""
    differs: tuple[str, ...] = ()
    """What somebody has changed on it."""


@dataclass
class KubernetesDouble:
    """The cluster."""

    nodes: dict[str, NodeObject] = field(default_factory=dict)
    settings: list[dict[str, Any]] = field(default_factory=list)
    """The documents of ``kubeadm init`` beside that of the node."""
    addons: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of a role to the variables with which it was run last."""
    control_planes: set[str] = field(default_factory=set)

    def api_nodes(self) -> tuple[ApiNode, ...]:
        """Return the Node objects; all are ready."""
        return tuple(
            ApiNode(name=name, labels=dict(node.labels), taints=frozenset(node.taints))
            for name, node in self.nodes.items()
        )

    def is_control_plane(self, name: str) -> bool:
        """Tell whether a node has an API server."""
        return name in self.control_planes

    def play(
        self, hosts: Sequence[HostEntry], shared: Mapping[str, Any], limit: Sequence[str]
    ) -> None:
        """Apply an inventory as the playbook ``cluster_up`` does, on the nodes of these names."""
        joined = set(self.nodes)
        planes = [host for host in hosts if host.group == CONTROL_PLANE_GROUP]
        first = next((host for host in planes if host.name in joined), planes[0])
        hosts = [first, *(host for host in hosts if host is not first)]
        hosts = [host for host in hosts if host.name in limit]
        endpoint = shared["kubeadm_control_plane_endpoint"]
        endpoint = endpoint or f"{first.variables['kubeadm_node_ip']}:6443"
        for host in hosts:
            if host.name in joined:
                continue
            variables = {**DEFAULTS, **shared, **host.variables}
            wanted = {name: variables.get(f"kubeadm_{name}") for name in SETTINGS}
            wanted["control_plane_endpoint"] = endpoint
            plane = host.group == CONTROL_PLANE_GROUP
            if host is first:
                document, *self.settings = kubeadm.kubeadm_init_documents(wanted, FACTS)
            else:
                document = kubeadm.kubeadm_join_document(wanted, FACTS, control_plane=plane)
            self.nodes[host.name] = _registered(document, plane=plane)
            if plane:
                self.control_planes.add(host.name)
        roles = [shared["cluster_network_role"], *shared.get("cluster_addon_roles", ())]
        names = [role.replace("/", ".").rpartition(".")[2] for role in roles if role]
        for host in hosts:
            given = {**shared, **host.variables}
            node = self.nodes[host.name]
            node.record, node.differs = _hash(given, names), ()
        for role in names if any(host is first for host in hosts) else ():
            self._install(role, shared, endpoint)
        self._converge(hosts, joined)

    def _install(self, role: str, shared: Mapping[str, Any], endpoint: str) -> None:
        told = {name: value for name, value in shared.items() if name.startswith(f"{role}_")}
        if told.get(f"{role}_state") == "absent":
            self.addons.pop(role, None)
        else:
            self.addons[role] = told | {"endpoint": endpoint}

    def _converge(self, hosts: Sequence[HostEntry], joined: set[str]) -> None:
        variables = [
            {
                "kubeadm_node": _settled(host),
                "ansible_facts": {"ohmykube_node": {"joined": host.name in joined}},
            }
            for host in hosts
        ]
        for name, wanted in kubeadm.kube_nodes_wanted(variables).items():
            node = self.nodes[name]
            found = {
                "metadata": {"labels": dict(node.labels)},
                "spec": {"taints": [_taint(text) for text in node.taints]},
            }
            labels, taints = kube_nodes.differing(found, wanted)
            for change in labels:
                key, _, value = change.partition("=")
                if change.endswith("-") and "=" not in change:
                    del node.labels[change[:-1]]
                else:
                    node.labels[key] = value
            for change in taints:
                _apply_taint(node.taints, change)


def _settled(host: HostEntry) -> dict[str, Any]:
    """Return what the role makes a fact of; its defaults are empty."""
    names = ("name", "ip", "labels", "taints", "absent_labels", "absent_taints")
    return {name: host.variables.get(f"kubeadm_node_{name}") or {} for name in names}


def _hash(given: Mapping[str, Any], addons: Sequence[str]) -> str:
    """Return a hash of what lasts: what a node has to lose is no more when it has lost it.

    What add-ons are told goes to the API, and leaves nothing on a node.
    """
    others = ("cluster_addon_roles", *(f"{name}_" for name in addons))
    lasting = {
        name: value
        for name, value in given.items()
        if "_absent_" not in name and not name.startswith(others)
    }
    lasting["kubeadm_node_taints"] = None
    return hashlib.sha256(repr(sorted(lasting.items())).encode()).hexdigest()


def _registered(document: dict[str, Any], *, plane: bool) -> NodeObject:
    registration = document["nodeRegistration"]
    arguments = {one["name"]: one["value"] for one in registration["kubeletExtraArgs"]}
    labels = dict(
        pair.split("=", 1) for pair in arguments.pop("node-labels", "").split(",") if pair
    )
    taints = registration.pop("taints", None)
    registration["kubeletExtraArgs"] = arguments
    if taints is None:
        found = {DEFAULT_TAINT} if plane else set()
    else:
        found = {kube_nodes.taint_text(taint) for taint in taints}
    return NodeObject(document=document, labels=labels, taints=found)


def _taint(text: str) -> dict[str, str]:
    head, _, effect = text.rpartition(":")
    key, _, value = head.partition("=")
    return {"key": key, "value": value, "effect": effect}


def _apply_taint(taints: set[str], change: str) -> None:
    """As ``kubectl taint --overwrite``: a taint is its key and its effect."""
    wanted = _taint(kube_nodes.normal_taint(change.removesuffix("-")))
    same = {text for text in taints if {**_taint(text), "value": ""} == {**wanted, "value": ""}}
    taints -= same
    if not change.endswith("-"):
        taints.add(kube_nodes.taint_text(wanted))
