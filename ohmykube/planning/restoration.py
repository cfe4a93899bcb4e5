"""Nodes that are not as the last run left them, or that it would leave otherwise today."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.model import change
from ohmykube.model.change import ConfigureNode
from ohmykube.model.cluster import Role
from ohmykube.model.machine import MachineState
from ohmykube.model.node_state import LEAVING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ohmykube.model.change import Change
    from ohmykube.model.cluster import Cluster, Node
    from ohmykube.model.node_state import ApiNode, NodeDigests
    from ohmykube.planning.observation import Observed

_CHANGED = {
    "release": "another release of ohmykube than the one that configured it",
    "artifacts": "other packages or images than those it has",
    "values": "other values for the roles than those it was configured with",
}

_OF_ADDONS = (_CHANGED["artifacts"], _CHANGED["values"])
"""What another add-on, or another version of one, means for every node."""


def compare(
    desired: Cluster,
    observed: Observed,
    changes: Sequence[Change],
    wanted: Mapping[str, NodeDigests] | None,
    configured: Mapping[str, NodeDigests],
) -> Iterator[ConfigureNode]:
    """Return the nodes that the roles have to look at, beside those that ``changes`` name.

    Args:
        desired: the description.
        observed: what is there.
        changes: what else is to be done.
        wanted: what each node would be configured from; None when that is not known, because not
            all artifacts are in the cache.
        configured: what the last whole run configured each node from.
    """
    if any(isinstance(one, change.FinishRun) for one in changes):
        return  # all of them
    everywhere = any(isinstance(one, change.ReconfigureCluster) for one in changes)
    addons = any(
        isinstance(one, change.InstallAddon | change.UpgradeAddon | change.RemoveAddon)
        for one in changes
    )
    named = {one.node for one in changes if isinstance(one, change.ReconfigureNode)}
    made = {
        one.node
        for one in changes
        if isinstance(
            one, change.CreateNode | change.RepairNode | change.StartNode | change.ReachNode
        )
    }
    applied = _who_applies(desired, observed)
    for node in desired.nodes:
        if node.name in made:
            continue
        reasons = [*_digests(node.name, observed, wanted, configured)]
        if addons:
            reasons = [one for one in reasons if one not in _OF_ADDONS]
        if everywhere or node.name in named:
            reasons = [one for one in reasons if one != _CHANGED["values"]]
        elif node.name in observed.joined:
            reasons += _in_the_api(node, (observed.kubernetes or {}).get(node.name))
        if node.name == applied:
            reasons += observed.changed_objects
        if reasons:
            yield ConfigureNode(node=node.name, reasons=tuple(reasons))


def _digests(
    name: str,
    observed: Observed,
    wanted: Mapping[str, NodeDigests] | None,
    configured: Mapping[str, NodeDigests],
) -> Iterator[str]:
    answer, before = observed.answers.get(name), configured.get(name)
    if answer is None:
        why = observed.problems.get(name)
        yield f"it does not answer: {why}" if why else "it was never reached"
        return
    if before is None:
        yield "no run has configured it to the end"
    elif wanted is None:
        yield "its packages or images are not all in the cache, and cannot be compared"
    else:
        for field, told in _CHANGED.items():
            if getattr(before, field) != getattr(wanted[name], field):
                yield told
    if before is not None and answer.record != before.record:
        yield "something other than `up` has configured it"
    yield from answer.differs


def _in_the_api(node: Node, found: ApiNode | None) -> Iterator[str]:
    """Return which labels and taints of the description a Node object does not have."""
    if found is None:
        return  # told by whoever waits until all are ready
    if LEAVING in found.labels:
        yield "it takes no pods, because it was to be deleted"
    for key, value in node.labels.items():
        if found.labels.get(key) != value:
            there = f"is {found.labels[key]!r}" if key in found.labels else "is gone"
            yield f"label {key} {there}"
    for taint in node.taints or ():
        if f"{taint.key}={taint.value}:{taint.effect}" not in found.taints:
            yield f"taint {taint} is gone"


def _who_applies(desired: Cluster, observed: Observed) -> str:
    """Return the control plane that applies anew what somebody has changed in the API."""
    for node in desired.nodes:
        machine = observed.machines.get(node.name)
        runs = machine is not None and machine.state is MachineState.RUNNING
        if node.role is Role.CONTROL_PLANE and runs and node.name in observed.joined:
            return node.name
    return ""
