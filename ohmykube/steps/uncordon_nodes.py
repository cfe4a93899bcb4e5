"""Let pods onto nodes again that were to be deleted, and are not any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.model.node_state import LEAVING
from ohmykube.steps.cluster_api import cluster_api
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from ohmykube.planning.observation import Observed
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

UNCORDON_NODES = Step("uncordon-nodes", "Let pods onto nodes again")


def uncordon_nodes(ctx: Context, observed: Observed, nodes: Nodes) -> bool:
    """Take back what a deletion that did not end has begun; return whether there was anything.

    Nodes that others cordoned stay so.

    Args:
        ctx: the cluster as it is wanted.
        observed: what was there.
        nodes: the way to its control planes.

    Raises:
        ClusterError, NodeError: as ``ClusterApi``.
    """
    known = observed.kubernetes or {}
    wanted = {node.name for node in ctx.cluster.nodes}
    names = sorted(n for n, one in known.items() if n in wanted and LEAVING in one.labels)
    if not names:
        return False
    with UNCORDON_NODES.running(ctx.services) as result:
        api = cluster_api(ctx.cluster, nodes)
        for name in names:
            api.uncordon(name)
            api.unlabel(name, LEAVING)
        result.detail = ", ".join(names)
    return True
