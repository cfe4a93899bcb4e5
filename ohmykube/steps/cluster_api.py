"""The API of a cluster through the nodes of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.kube.api import ClusterApi
from ohmykube.model.machine import MachineState

if TYPE_CHECKING:
    from ohmykube.kube.api import Shell
    from ohmykube.model.cluster import Cluster
    from ohmykube.steps.nodes import Nodes


def cluster_api(cluster: Cluster, nodes: Nodes) -> ClusterApi:
    """Return the API of a cluster, through whichever of its control planes answers.

    Args:
        cluster: its control planes are asked in this order.
        nodes: the way to them.
    """
    shells: dict[str, Shell] = {}
    absent: dict[str, str] = {}
    for node in cluster.control_planes:
        machine = nodes.machines.get(node.name)
        if machine is None:
            absent[node.name] = "it has no machine"
        elif machine.state is not MachineState.RUNNING:
            why = f": {machine.problem}" if machine.problem else ""
            absent[node.name] = f"its machine is {machine.state.value}{why}"
        else:
            shells[node.name] = nodes.shell(node.name)
    return ClusterApi(cluster.name, shells, absent=absent, slowdown=nodes.slowdown)
