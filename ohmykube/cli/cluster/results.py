"""Results of the commands on clusters, as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ohmykube.cli._output import document
from ohmykube.cli.cluster.change_results import PlannedChange, changes
from ohmykube.cli.expose.results import ReachedPort, items

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.workflows.down import DownResult
    from ohmykube.workflows.power import PowerResult
    from ohmykube.workflows.status import ClusterStatus, ClusterSummary, NodeStatus
    from ohmykube.workflows.up_values import UpResult


class Node(TypedDict):
    """One node as it is now."""

    name: str
    role: Literal["control-plane", "worker"]
    machine: Literal["running", "stopped", "broken", "unknown", "missing"]
    address: str
    ready: bool
    version: str
    detail: str


class Up(TypedDict):
    """``ohmykube up``."""

    cluster: str
    changed: bool
    changes: list[PlannedChange]
    """What was to be done."""
    nodes: list[Node]
    kubeconfig: str | None
    context: str
    seconds: float
    exposed: list[ReachedPort]


class Down(TypedDict):
    """``ohmykube down``."""

    cluster: str
    existed: bool
    removed: list[str]
    forgotten: list[str]


class Status(TypedDict):
    """``ohmykube status``."""

    name: str
    provider: str
    kubernetesVersion: str
    health: Literal["healthy", "degraded", "stopped", "unreachable"]
    detail: str
    kubeconfig: str | None
    nodes: list[Node]


class Summary(TypedDict):
    """One cluster in ``ohmykube list``."""

    name: str
    provider: str
    kubernetesVersion: str
    nodes: int
    running: int
    detail: str


class ClusterList(TypedDict):
    """``ohmykube list``."""

    items: list[Summary]


class Power(TypedDict):
    """``ohmykube start`` and ``ohmykube stop``."""

    cluster: str
    action: Literal["start", "stop"]
    nodes: list[str]


class Kubeconfig(TypedDict):
    """``ohmykube kubeconfig --merge`` and ``--path``."""

    cluster: str
    path: str


KINDS: dict[str, type] = {
    "UpResult": Up,
    "DownResult": Down,
    "ClusterStatus": Status,
    "ClusterList": ClusterList,
    "PowerResult": Power,
    "Kubeconfig": Kubeconfig,
}
"""Document kinds by name."""


def up(result: UpResult) -> dict[str, Any]:
    """Return what ``up`` did."""
    return document(
        "UpResult",
        {
            "cluster": result.cluster,
            "changed": result.changed,
            "changes": changes(result.plan),
            "nodes": _nodes(result.nodes),
            "kubeconfig": _path(result.kubeconfig),
            "context": result.context,
            "seconds": round(result.seconds, 2),
            "exposed": items(result.cluster, result.exposed),
        },
    )


def down(result: DownResult) -> dict[str, Any]:
    """Return what ``down`` removed."""
    return document(
        "DownResult",
        {
            "cluster": result.cluster,
            "existed": result.existed,
            "removed": list(result.removed),
            "forgotten": list(result.forgotten),
        },
    )


def status(found: ClusterStatus) -> dict[str, Any]:
    """Return one cluster as it is now."""
    return document(
        "ClusterStatus",
        {
            "name": found.name,
            "provider": found.provider,
            "kubernetesVersion": found.kubernetes_version,
            "health": found.health,
            "detail": found.detail,
            "kubeconfig": _path(found.kubeconfig),
            "nodes": _nodes(found.nodes),
        },
    )


def clusters(found: Sequence[ClusterSummary]) -> dict[str, Any]:
    """Return all clusters."""
    items = [
        {
            "name": one.name,
            "provider": one.provider,
            "kubernetesVersion": one.kubernetes_version,
            "nodes": one.nodes,
            "running": one.running,
            "detail": one.detail,
        }
        for one in found
    ]
    return document("ClusterList", {"items": items})


def power(result: PowerResult, action: str) -> dict[str, Any]:
    """Return what was started or stopped."""
    return document(
        "PowerResult",
        {"cluster": result.cluster, "action": action, "nodes": list(result.nodes)},
    )


def _nodes(nodes: Sequence[NodeStatus]) -> list[dict[str, Any]]:
    return [
        {
            "name": node.name,
            "role": node.role,
            "machine": node.machine,
            "address": node.address,
            "ready": node.ready,
            "version": node.version,
            "detail": node.detail,
        }
        for node in nodes
    ]


def _path(path: object) -> str | None:
    return None if path is None else str(path)
