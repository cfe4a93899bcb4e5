"""``status`` and ``list``: what is there, asked from the machines and from Kubernetes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.kube import readiness
from ohmykube.model.machine import MachineState
from ohmykube.state import layout
from ohmykube.steps.cluster_api import cluster_api
from ohmykube.steps.nodes import Nodes
from ohmykube.workflows import session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ohmykube.kube.api import ClusterApi
    from ohmykube.model.cluster import Cluster, Node
    from ohmykube.model.machine import Machine
    from ohmykube.model.node_state import ApiNode
    from ohmykube.steps.context import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One node as it is now."""

    name: str
    role: str
    machine: str
    """``running``, ``stopped``, ``broken`` or ``missing``."""
    address: str
    ready: bool
    version: str
    detail: str
    """Why it is not ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """One cluster as it is now."""

    name: str
    provider: str
    kubernetes_version: str
    health: str
    """``healthy``, ``degraded``, ``stopped`` or ``unreachable``."""
    nodes: tuple[NodeStatus, ...]
    kubeconfig: Path | None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSummary:
    """One line of ``list``."""

    name: str
    provider: str
    kubernetes_version: str
    nodes: int
    running: int
    detail: str = ""
    """Why the cluster cannot be described, such as a damaged record."""


def look(
    cluster: Cluster, machines: Mapping[str, Machine], api: ClusterApi | None
) -> tuple[NodeStatus, ...]:
    """Return the state of all desired nodes; asks Kubernetes when a control plane answers.

    Args:
        cluster: as it is wanted.
        machines: what is there, by node name.
        api: its API; None when no node was ever reached.
    """
    conditions: dict[str, readiness.NodeCondition] = {}
    problem = ""
    running = any(_is_running(machines.get(node.name)) for node in cluster.control_planes)
    if api is not None and running:
        try:
            conditions = {node.name: node for node in readiness.nodes(api)}
        except OhmykubeError as error:
            problem = "; ".join((error.why or error.message).splitlines())
    return tuple(
        _node_status(node, machines.get(node.name), conditions.get(node.name), problem)
        for node in cluster.nodes
    )


def described(
    cluster: Cluster, machines: Mapping[str, Machine], nodes: Iterable[ApiNode]
) -> tuple[NodeStatus, ...]:
    """Return the same from what a control plane has said."""
    found = {node.name: node for node in nodes}
    return tuple(
        _node_status(node, machines.get(node.name), found.get(node.name), "")
        for node in cluster.nodes
    )


def _is_running(machine: Machine | None) -> bool:
    return machine is not None and machine.state is MachineState.RUNNING


def _node_status(
    node: Node,
    machine: Machine | None,
    condition: readiness.NodeCondition | ApiNode | None,
    problem: str,
) -> NodeStatus:
    return NodeStatus(
        name=node.name,
        role=node.role.value,
        machine=machine.state.value if machine else "missing",
        address=machine.address if machine else "",
        ready=condition is not None and condition.ready,
        version=condition.version if condition else "",
        detail=condition.reason if condition else problem or "not joined",
    )


def status(services: Services, name: str) -> ClusterStatus:
    """Look at one cluster; changes nothing.

    Raises:
        NotFoundError: no such cluster.
    """
    record, cluster = session.recorded(services, name)
    ctx = session.looking(services, cluster)
    machines = {machine.node: machine for machine in ctx.provider.list(name)}
    path = ctx.directory / layout.SSH_CONFIG
    reached = Nodes(machines=machines, ssh_config=path, slowdown=ctx.slowdown)
    nodes = look(cluster, machines, cluster_api(cluster, reached) if path.exists() else None)
    kubeconfig = ctx.directory / layout.KUBECONFIG
    return ClusterStatus(
        name=name,
        provider=record.provider,
        kubernetes_version=record.kubernetes_version,
        health=_health(nodes),
        nodes=nodes,
        kubeconfig=kubeconfig if kubeconfig.exists() else None,
    )


def _health(nodes: tuple[NodeStatus, ...]) -> str:
    if all(node.ready and node.machine == "running" for node in nodes):
        return "healthy"
    if not any(node.machine == "running" for node in nodes):
        return "stopped"
    if any(node.ready for node in nodes):
        return "degraded"
    return "unreachable"


def list_clusters(services: Services) -> tuple[ClusterSummary, ...]:
    """Return one line for each cluster, a damaged one included; changes nothing."""
    return tuple(_summary(services, name) for name in services.state.names())


def _summary(services: Services, name: str) -> ClusterSummary:
    try:
        record, cluster = session.recorded(services, name)
    except OhmykubeError as error:
        return ClusterSummary(
            name=name, provider="", kubernetes_version="", nodes=0, running=0, detail=error.message
        )
    running = 0
    with contextlib.suppress(OhmykubeError):
        provider = session.provider_of(services, record.provider, cluster)
        machines = provider.list(name)
        running = sum(machine.state is MachineState.RUNNING for machine in machines)
    return ClusterSummary(
        name=name,
        provider=record.provider,
        kubernetes_version=record.kubernetes_version,
        nodes=len(cluster.nodes),
        running=running,
    )
