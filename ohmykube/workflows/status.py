"""``status`` and ``list``: what is there, asked from the machines and from Kubernetes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.model.machine import running, state_of
from ohmykube.model.node_state import api_nodes
from ohmykube.state import layout
from ohmykube.steps.nodes import Nodes
from ohmykube.steps.observe import ask
from ohmykube.steps.restore_helpers import restore_helpers
from ohmykube.steps.wait_ready import lacking
from ohmykube.workflows import session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ohmykube.model.cluster import Cluster, Node
    from ohmykube.model.machine import Machine
    from ohmykube.model.node_state import ApiNode, NodeState
    from ohmykube.steps.context import Context, Services


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One node as it is now."""

    name: str
    role: str
    machine: str
    """``running``, ``stopped``, ``broken``, ``unknown`` or ``missing``."""
    address: str
    ready: bool
    version: str
    detail: str
    """Why it is not ready, or its machine's state unknown, or what it lacks though it is ready."""


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


def described(
    cluster: Cluster,
    machines: Mapping[str, Machine],
    answers: Mapping[str, NodeState],
    problem: str = "not joined",
) -> tuple[NodeStatus, ...]:
    """Return the state of all desired nodes.

    Args:
        cluster: as it is wanted.
        machines: what is there, by node name.
        answers: what nodes have said.
        problem: why nodes that run are not ready, of which no control plane has told.
    """
    found = api_nodes(answers) or {}
    reasons = lacking(cluster, answers)
    return tuple(
        _node_status(
            *(node, machines.get(node.name), found.get(node.name)),
            reasons.get(node.name, "") if node.name in found else problem,
        )
        for node in cluster.nodes
    )


def _node_status(
    node: Node, machine: Machine | None, seen: ApiNode | None, detail: str
) -> NodeStatus:
    return NodeStatus(
        name=node.name,
        role=node.role.value,
        machine=state_of(machine),
        address=machine.address if machine else "",
        ready=seen is not None and seen.ready,
        version=seen.version if seen else "",
        detail=detail if running(machine) else machine.problem if machine else "",
    )


def _look(ctx: Context, machines: Mapping[str, Machine]) -> tuple[NodeStatus, ...]:
    """Return the state of all nodes; those whose machines run are asked."""
    cluster, path = ctx.cluster, ctx.directory / layout.SSH_CONFIG
    if not path.exists():
        return described(cluster, machines, {})
    nodes = Nodes(machines=machines, ssh_config=path, slowdown=ctx.slowdown)
    up = [node.name for node in cluster.nodes if running(machines.get(node.name))]
    answers, problems = ask(ctx, nodes, up, differences=False)
    silent = {name: one.api_problem for name, one in answers.items()} | problems
    planes = [node.name for node in cluster.control_planes]
    told = [f"{name}: {' '.join(silent[name].splitlines())}" for name in planes if silent.get(name)]
    down = [f"{name} is {state_of(machines.get(name))}" for name in planes if name not in up]
    return described(cluster, machines, answers, "; ".join(told + down) or "not joined")


def status(services: Services, name: str) -> ClusterStatus:
    """Look at one cluster; changes nothing but bring back helpers of it that were killed.

    Raises:
        NotFoundError: no such cluster.
    """
    record, cluster = session.recorded(services, name)
    ctx = session.looking(services, cluster)
    restore_helpers(ctx)
    machines = {machine.node: machine for machine in ctx.provider.list(name)}
    nodes = _look(ctx, machines)
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
    if all(node.ready and node.machine == "running" and not node.detail for node in nodes):
        return "healthy"
    states = {node.machine for node in nodes}
    if "stopped" in states and states <= {"stopped", "missing"}:
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
    up = 0
    with contextlib.suppress(OhmykubeError):
        provider = session.provider_of(services, record.provider, cluster)
        machines = provider.list(name)
        up = sum(map(running, machines))
    return ClusterSummary(
        name=name,
        provider=record.provider,
        kubernetes_version=record.kubernetes_version,
        nodes=len(cluster.nodes),
        running=up,
    )
