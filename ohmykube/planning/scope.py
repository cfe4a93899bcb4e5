"""Which nodes a plan concerns: those have to be configured, the others stay untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ohmykube.model.change import (
    SIZES,
    ConfigureNode,
    CreateNode,
    DeleteNode,
    FinishRun,
    InstallAddon,
    ReachNode,
    ReconfigureCluster,
    ReconfigureNode,
    RemoveAddon,
    RepairNode,
    StartNode,
    UpdateSetting,
    UpgradeAddon,
)
from ohmykube.model.cluster import Role

if TYPE_CHECKING:
    from ohmykube.model.change import Plan
    from ohmykube.model.cluster import Cluster, Node

Scope: TypeAlias = frozenset[str] | None
"""Names of nodes; None for all of a cluster."""


def scope_of(plan: Plan, cluster: Cluster) -> Scope:
    """Return the nodes that a plan has something for the roles to do on; empty when on none.

    All of them when one change is not a matter of single nodes. A machine that only gets another
    size is none, and neither is a node that goes.

    Args:
        plan: what must change; refused by nobody.
        cluster: as it is wanted.
    """
    planes = {node.name for node in cluster.nodes if node.role is Role.CONTROL_PLANE}
    found: set[str] = set()
    for one in plan.changes:
        match one:
            case ReconfigureCluster() | FinishRun():
                return None
            case InstallAddon() | UpgradeAddon() | RemoveAddon():
                return None  # its images go to all nodes
            case CreateNode() | RepairNode() | StartNode() | ReachNode():
                if one.node in planes:
                    return None  # every node knows the control planes
                found.add(one.node)
            case ConfigureNode():
                found.add(one.node)
            case ReconfigureNode():
                if one.field.rpartition(".")[2] not in SIZES:
                    found.add(one.node)
            case DeleteNode() | UpdateSetting():
                pass  # nothing on the nodes that stay depends on it
    return frozenset(found)


def nodes_in(cluster: Cluster, scope: Scope) -> tuple[Node, ...]:
    """Return the nodes of a cluster that are in scope, in their order."""
    return tuple(node for node in cluster.nodes if scope is None or node.name in scope)
