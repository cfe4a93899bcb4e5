"""Clusters as they are found when all is as it was left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.model.machine import Machine, MachineState, Resize, Resizing
from ohmykube.model.node_state import NodeDigests, NodeState
from ohmykube.planning import diff as planning
from ohmykube.planning.observation import Observed

if TYPE_CHECKING:
    from ohmykube.model.change import Plan
    from ohmykube.model.cluster import Cluster

LIVE = Resizing(cpus=Resize.LIVE, memory=Resize.LIVE, disk=Resize.LIVE)
RUNNING = MachineState.RUNNING
WANTED = NodeDigests(release="1", artifacts="1", values="1")
CONFIGURED = NodeDigests(release="1", artifacts="1", values="1", record="r")
AS_LEFT = NodeState(record="r", begun=True, joined=True)


def machine(node: str, state: MachineState = RUNNING) -> Machine:
    return Machine(cluster="dev", node=node, state=state, address="192.0.2.1")


def seen(*nodes: str, resizing: Resizing = LIVE, **states: MachineState) -> Observed:
    """Return nodes that have joined and are as they were left, in the state given or running."""
    machines = {node: machine(node, states.get(node, RUNNING)) for node in nodes}
    names = frozenset(nodes)
    return Observed(
        machines=machines,
        begun=names,
        joined=names,
        unfinished=False,
        resizing=resizing,
        answers=dict.fromkeys(nodes, AS_LEFT),
    )


def diff(desired: Cluster, recorded: Cluster | None, observed: Observed) -> Plan:
    """Compare; every node was configured from what it would be configured from now."""
    wanted = {node.name: WANTED for node in desired.nodes}
    configured = {node.name: CONFIGURED for node in (*desired.nodes, *(recorded or desired).nodes)}
    return planning.diff(desired, recorded, observed, wanted, configured)
