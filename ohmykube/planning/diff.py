"""From the desired, the recorded and the observed cluster to a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.config.mutability import Mutability
from ohmykube.model.change import (
    CreateNode,
    FinishRun,
    LeaveNode,
    Plan,
    ReconfigureCluster,
    ReconfigureNode,
    Refuse,
    RepairNode,
    StartNode,
    UpdateSetting,
)
from ohmykube.model.machine import MachineState
from ohmykube.planning import differences, nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.model.change import Change
    from ohmykube.model.cluster import Cluster
    from ohmykube.planning.differences import Difference
    from ohmykube.planning.observation import Observed

ANY_PROVIDER = "auto"


def diff(desired: Cluster, recorded: Cluster | None, observed: Observed) -> Plan:
    """Return everything in which a cluster differs from its description.

    Args:
        desired: the description.
        recorded: what it was brought to before, its provider by name; None for a new cluster.
        observed: what is there.
    """
    found: list[Change | Refuse] = [*_machines(desired, observed)]
    if recorded is not None:
        known = {node.name: node for node in recorded.nodes}
        for node in desired.nodes:
            if node.name in known:
                found += nodes.compare(known[node.name], node, observed)
        found += _first(desired, recorded, observed)
        found += _cluster(desired, recorded, observed)
    if observed.unfinished and any(node.name in observed.machines for node in desired.nodes):
        found.append(FinishRun())
    wanted = {node.name for node in desired.nodes}
    changes = [one for one in found if not isinstance(one, Refuse)]
    return Plan(
        changes=tuple(sorted(changes, key=_order)),
        refusals=tuple(one for one in found if isinstance(one, Refuse)),
        left=tuple(LeaveNode(node=name) for name in sorted(set(observed.machines) - wanted)),
    )


def _order(change: Change) -> int:
    """Machines first, then what is on them, the cluster, and at last what is only written down."""
    match change:
        case CreateNode() | RepairNode() | StartNode():
            return 0
        case ReconfigureNode():
            return 1
        case ReconfigureCluster():
            return 2
        case FinishRun():
            return 3
        case UpdateSetting():
            return 4


def _machines(desired: Cluster, observed: Observed) -> Iterator[Change]:
    for node in desired.nodes:
        machine = observed.machines.get(node.name)
        if machine is None:
            yield CreateNode(node=node.name, role=node.role)
        elif machine.state is MachineState.BROKEN:
            yield RepairNode(node=node.name)
        elif machine.state is MachineState.STOPPED:
            yield StartNode(node=node.name)


def _first(desired: Cluster, recorded: Cluster, observed: Observed) -> Iterator[Refuse]:
    """Whichever control plane stands first makes the cluster: another one would make a second."""
    was, is_now = recorded.control_planes[0].name, desired.control_planes[0].name
    second = bool(observed.joined) and is_now not in observed.begun
    if was != is_now and (was in observed.begun or second):
        yield Refuse(
            field="spec.nodes.controlPlane",
            old=was,
            new=is_now,
            why="the control plane that made the cluster stays the first",
            way_out=f"keep {was} first and name the others after it",
        )


def _cluster(desired: Cluster, recorded: Cluster, observed: Observed) -> Iterator[Change | Refuse]:
    if desired.provider == ANY_PROVIDER:
        recorded = replace(recorded, provider=ANY_PROVIDER)
    for found in differences.of_clusters(recorded, desired):
        value = {"field": found.field, "old": found.old, "new": found.new}
        match found.mutability:
            case Mutability.SETTING:
                yield UpdateSetting(**value)
            case Mutability.LIVE if _without_effect(found, desired, recorded):
                yield UpdateSetting(**value)
            case Mutability.LIVE if observed.joined:
                yield ReconfigureCluster(**value)
            case Mutability.LIVE:
                pass  # nobody has it yet
            case _ if why := _fixed(found, desired, recorded, observed):
                yield Refuse(**value, why=why, way_out=_new_cluster(desired.name))
            case _:
                pass  # as above


def _without_effect(found: Difference, desired: Cluster, recorded: Cluster) -> bool:
    flannel = found.path[:3] == ("spec", "network", "flannel")
    return flannel and {desired.network.cni, recorded.network.cni} == {"none"}


def _fixed(found: Difference, desired: Cluster, recorded: Cluster, observed: Observed) -> str:
    """Return why a field cannot change; empty while nothing has its value yet."""
    first = recorded.control_planes[0].name
    nodes = {node.name for node in (*desired.nodes, *recorded.nodes)}
    match found.path[1:]:
        case ("provider", "name"):
            return "machines stay with the provider that made them"
        case ("provider", "options") if nodes.difference(observed.machines) & {*found.inside}:
            return ""  # said of one node alone, which has no machine
        case ("provider", "options"):
            return "it counts when machines are made" if observed.machines else ""
        case ("kubernetes", "version"):
            return "`up` does not upgrade a cluster" if observed.begun else ""
        case ("kubeadm", "joinConfiguration"):
            joined = observed.joined - {first}
            return "it counts when nodes join, and some have joined" if joined else ""
        case _:
            return "it is fixed when the cluster is made" if observed.joined else ""


def _new_cluster(name: str) -> str:
    return f"`ohmykube up --name OTHER` makes another cluster, `ohmykube down {name}` removes this"
