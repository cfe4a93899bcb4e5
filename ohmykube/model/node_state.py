"""What a node says of itself and, if it is a control plane, of its cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ohmykube.kit.secret import Secret

LEAVING = "ohmykube.dev/leaving"
"""Label of a Node object that was cordoned because it was to leave its cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiNode:
    """A Node object, as far as we look at it."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: frozenset[str] = frozenset()
    """Each as ``key=value:Effect``."""
    pod_network: str = ""
    """In CIDR form; empty while it has none."""
    unschedulable: bool = False
    ready: bool = True
    reason: str = ""
    """Why it is not ready, in Kubernetes' own words; empty when it is."""
    pressure: str = ""
    """What it runs short of, so that it takes no pods: ``DiskPressure: …``; empty when nothing."""
    version: str = ""
    """Kubelet version, such as ``v1.36.3``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedObject:
    """An object of the API that a role has applied from a control plane."""

    applied_at: float
    """Seconds since the epoch, by the control plane's clock."""
    problem: str = ""
    """In what it differs from what was applied, for people; empty when it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """The answer of one node; what only a control plane knows is empty in others' answers."""

    record: str = ""
    """Digest of what is recorded on it: all that our modules look after there, as they left it, and
    how far kubeadm is. Empty when none of our plays ever ran there."""
    begun: bool = False
    """kubeadm has begun to make or join the cluster."""
    joined: bool = False
    """It has finished."""
    differs: tuple[str, ...] = ()
    """What is not as it was left, one line for each thing, for people."""
    nodes: tuple[ApiNode, ...] | None = None
    """All Node objects; None when its API server was not asked or did not answer."""
    api_problem: str = ""
    """Why the API server did not answer."""
    services: tuple[Mapping[str, Any], ...] = ()
    """All services of type LoadBalancer, as the API has them."""
    objects: Mapping[str, AppliedObject] = field(default_factory=dict)
    """By kind, namespace and name."""
    dns_answers: bool = False
    """The cluster's DNS, asked from this node, resolves the API server's service."""
    pulling: bool = False
    """Its images are being pulled, from mirrors that may go when `up` ends."""
    reached: frozenset[str] = frozenset()
    """Addresses in the pod network at which other nodes answer this one."""
    endpoint: str = ""
    """Host and port at which all nodes reach the API."""
    admin: Secret = field(default_factory=lambda: Secret(""))
    """The administrator's kubeconfig."""


def answering(answers: Mapping[str, NodeState]) -> str:
    """Return the first control plane, by name, whose API server answered; empty when none did."""
    return min((name for name, one in answers.items() if one.nodes is not None), default="")


def api_nodes(answers: Mapping[str, NodeState]) -> Mapping[str, ApiNode] | None:
    """Return the Node objects that it told of, by name; None when no API server answered."""
    control_plane = answering(answers)
    if not control_plane:
        return None
    return {node.name: node for node in answers[control_plane].nodes or ()}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDigests:
    """What a node is, or is to be, configured from, each as a digest."""

    release: str
    """The collection: its playbook, roles and plugins."""
    artifacts: str
    """Packages and images."""
    values: str
    """All other variables."""
    record: str = ""
    """What the node recorded when its configuration had ended (``NodeState.record``)."""
