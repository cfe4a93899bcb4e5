"""Nodes that a cluster has and its description does not: they go, where the cluster can bear it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.model.change import DeleteNode, Refuse
from ohmykube.model.cluster import Role
from ohmykube.model.machine import MachineState
from ohmykube.model.networks import host_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.model.cluster import Cluster
    from ohmykube.planning.observation import Observed

REASON = "the description does not have it"
FIELD = "spec.nodes.controlPlane"
# kubeadm puts it on every control plane.
CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"


def too_many(
    desired: Cluster, recorded: Cluster | None, observed: Observed
) -> Iterator[DeleteNode | Refuse]:
    """Return the deletion of every node that is too many, workers first; or why one is refused.

    A node is one of this cluster's when it has a machine, or when it was recorded and the cluster
    may still know it. What others made join the cluster is no concern of the description.
    """
    wanted = {node.name for node in desired.nodes}
    roles = {node.name: node.role for node in recorded.nodes} if recorded is not None else {}
    known = set(roles) if observed.joined else set()
    if observed.kubernetes is not None:
        known &= observed.kubernetes.keys()
    found = {name: _role(name, roles, observed) for name in {*observed.machines, *known} - wanted}
    members = [name for name, role in found.items() if role is Role.CONTROL_PLANE]
    leaving = sorted(
        (name for name in members if name in observed.begun or name in known),
        key=lambda name: (_is_healthy(name, desired, observed), name),
    )
    refused = _refused(leaving, desired, observed)
    if refused is not None:
        yield refused
    order = [name for name in sorted(found) if found[name] is Role.WORKER]
    order += [name for name in sorted(members) if name not in leaving] + leaving
    for name in order:
        yield DeleteNode(node=name, role=found[name], reason=REASON)


def _role(name: str, roles: dict[str, Role], observed: Observed) -> Role:
    node = (observed.kubernetes or {}).get(name)
    labelled = node is not None and CONTROL_PLANE_LABEL in node.labels
    return roles.get(name, Role.CONTROL_PLANE if labelled else Role.WORKER)


def _refused(leaving: list[str], desired: Cluster, observed: Observed) -> Refuse | None:
    """Return why control planes cannot go: each of them is a member of etcd, too."""
    staying = [node.name for node in desired.control_planes if node.name in observed.joined]
    if not leaving:
        return None
    if not staying:
        return _refuse(
            leaving,
            "no control plane would be left that knows the cluster",
            f"keep {leaving[-1]}, add the new ones, and delete it when they have joined",
        )
    for name in leaving:
        if _is_endpoint(name, observed) and desired.network.api_server_endpoint is None:
            return _refuse(
                [name],
                "all nodes reach the API at its address, and would be lost without it",
                f"keep {name}; `apiServerEndpoint` of a new cluster names a load balancer instead",
            )
    if (desired.kubeadm.cluster_configuration.get("etcd") or {}).get("external"):
        return None
    members = [*leaving, *staying]
    for name in leaving:
        healthy = [one for one in members if _is_healthy(one, desired, observed)]
        quorum = len(members) // 2 + 1
        after = [one for one in healthy if one != name]
        if len(healthy) < quorum or len(after) < (len(members) - 1) // 2 + 1:
            down = sorted(set(members) - set(healthy))
            does = "does" if len(down) == 1 else "do"
            return _refuse(
                [name],
                f"etcd would lose its quorum: of its {len(members)} members "
                f"{', '.join(down)} {does} not answer",
                f"bring {' and '.join(down)} back first",
            )
        members.remove(name)
    return None


def must_stay(name: str, desired: Cluster, observed: Observed) -> bool:
    """Tell whether no other node could take a node's place, as all reach the API at its address."""
    planes = [node.name for node in desired.control_planes]
    alone = planes == [name] or _is_endpoint(name, observed)
    return name in planes and alone and desired.network.api_server_endpoint is None


def _is_endpoint(name: str, observed: Observed) -> bool:
    machine, plane = observed.machines.get(name), observed.answers.get(observed.control_plane)
    host = host_of(plane.endpoint) if plane is not None else ""
    return machine is not None and bool(host) and machine.address == host


def _is_healthy(name: str, desired: Cluster, observed: Observed) -> bool:
    """Tell whether a control plane runs, or will by the time that nodes are deleted."""
    machine = observed.machines.get(name)
    if machine is None:
        return False
    if machine.state is not MachineState.RUNNING:
        return any(node.name == name for node in desired.nodes)
    node = (observed.kubernetes or {}).get(name)
    return observed.kubernetes is None or (node is not None and node.ready)


def _refuse(nodes: list[str], why: str, way_out: str) -> Refuse:
    return Refuse(field=FIELD, old=", ".join(nodes), new=None, why=why, way_out=way_out)
