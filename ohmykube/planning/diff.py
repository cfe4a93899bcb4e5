"""From the desired, the recorded and the observed cluster to a plan."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from ohmykube.config.mutability import Mutability
from ohmykube.model.change import (
    ConfigureNode,
    CreateNode,
    DeleteNode,
    FinishRun,
    InstallAddon,
    Plan,
    ReachNode,
    ReconfigureCluster,
    ReconfigureNode,
    Refuse,
    RemoveAddon,
    RepairNode,
    StartNode,
    UpdateSetting,
    UpgradeAddon,
)
from ohmykube.model.machine import MachineState
from ohmykube.planning import addons, deletion, differences, nodes, restoration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ohmykube.model.change import Change
    from ohmykube.model.cluster import Cluster
    from ohmykube.model.node_state import NodeDigests
    from ohmykube.planning.differences import Difference
    from ohmykube.planning.observation import Observed

ANY_PROVIDER = "auto"
_NETWORK_FIELD = ("spec", "network", "FIELD")
# Machines first, then what is on them and the cluster; what is only written down comes last. Nodes
# go when the new ones are there: what runs on them has a place then.
_ORDER: Mapping[type[Change], int] = {
    CreateNode: 0,
    RepairNode: 0,
    StartNode: 0,
    ReachNode: 0,
    ReconfigureNode: 1,
    ReconfigureCluster: 2,
    InstallAddon: 2,
    UpgradeAddon: 2,
    RemoveAddon: 2,
    ConfigureNode: 3,
    FinishRun: 4,
    DeleteNode: 5,
    UpdateSetting: 6,
}


def diff(
    desired: Cluster,
    recorded: Cluster | None,
    observed: Observed,
    wanted: Mapping[str, NodeDigests] | None,
    configured: Mapping[str, NodeDigests],
    *,
    owned: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Plan:
    """Return everything in which a cluster differs from its description.

    Args:
        desired: the description.
        recorded: what it was brought to before, its provider by name; None for a new cluster.
        observed: what is there.
        wanted: what each node of the description would be configured from; None when that is not
            known, because not all artifacts are in the cache.
        configured: what the last whole run configured each node from.
        owned: what is lost with an add-on of the cluster, by its name.
    """
    found: list[Change | Refuse] = [*_machines(desired, observed)]
    if recorded is not None:
        known = {node.name: node for node in recorded.nodes}
        for node in desired.nodes:
            if node.name in known:
                stays = deletion.must_stay(node.name, desired, observed)
                way_out = _new_cluster(desired.name) if stays else nodes.NEW_NODE
                found += nodes.compare(known[node.name], node, observed, way_out)
        found += _cluster(desired, recorded, observed)
    found += addons.compare(desired, recorded, owned)
    if observed.unfinished and any(node.name in observed.machines for node in desired.nodes):
        found.append(FinishRun())
    found += deletion.too_many(desired, recorded, observed)
    changes = [one for one in found if not isinstance(one, Refuse)]
    changes += restoration.compare(desired, observed, changes, wanted, configured)
    return Plan(
        changes=tuple(sorted(changes, key=lambda one: _ORDER[type(one)])),
        refusals=tuple(one for one in found if isinstance(one, Refuse)),
    )


def _machines(desired: Cluster, observed: Observed) -> Iterator[Change]:
    for node in desired.nodes:
        machine = observed.machines.get(node.name)
        if machine is None:
            yield CreateNode(node=node.name, role=node.role)
        elif machine.state is MachineState.BROKEN:
            yield RepairNode(node=node.name)
        elif machine.state is MachineState.STOPPED:
            yield StartNode(node=node.name)
        elif machine.state is MachineState.UNKNOWN:
            yield ReachNode(node=node.name, problem=machine.problem)


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
    """Tell whether a value belongs to a pod network that neither cluster has."""
    of_network = found.path[:2] == ("spec", "network") and len(found.path) > len(_NETWORK_FIELD)
    return of_network and found.path[2] not in (desired.network.cni, recorded.network.cni)


def _fixed(found: Difference, desired: Cluster, recorded: Cluster, observed: Observed) -> str:
    """Return why a field cannot change; empty while nothing has its value yet."""
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
            joined = len(observed.joined) > 1  # the first of them has made the cluster
            return "it counts when nodes join, and some have joined" if joined else ""
        case _:
            return "it is fixed when the cluster is made" if observed.joined else ""


def _new_cluster(name: str) -> str:
    return f"`ohmykube up --name OTHER` makes another cluster, `ohmykube down {name}` removes this"
