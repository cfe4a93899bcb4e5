"""What may be written down of a cluster while it is changed, and when that has ended.

The record never says what the cluster is not. So a run that has only begun writes what was there,
with what it may have added by the time it is killed; the description follows when all is done.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ohmykube.model.change import Plan
    from ohmykube.model.cluster import Cluster, Node
    from ohmykube.planning.observation import Observed


def united(desired: Cluster, recorded: Cluster | None, plan: Plan) -> Cluster:
    """Return the cluster as it is before the nodes that are too many go: with all of them."""
    going = {one.node for one in plan.deletions}
    kept = [node for node in recorded.nodes if node.name in going] if recorded else []
    return replace(desired, nodes=(*desired.nodes, *kept))


def under_way(
    desired: Cluster, recorded: Cluster | None, observed: Observed, plan: Plan
) -> Cluster:
    """Return the cluster as it is known to be when a run has begun and not ended."""
    whole = united(desired, recorded, plan)
    if recorded is None or not observed.begun:
        return whole
    going = {one.node for one in plan.deletions}
    there = {*observed.machines, *going}
    known = {node.name: node for node in recorded.nodes if node.name in there}
    return replace(
        recorded,
        provider=desired.provider,
        nodes=tuple(
            _under_way(known[node.name], node) if node.name in known else node
            for node in whole.nodes
        ),
        sources=desired.sources,
        template=desired.template,
    )


def _under_way(before: Node, after: Node) -> Node:
    """Return a node with every label and taint that it may have meanwhile."""
    both = (*before.effective_taints, *after.effective_taints)
    taints = {(taint.key, taint.effect): taint for taint in both}
    same = before.taints == after.taints
    return replace(
        before,
        labels={**before.labels, **after.labels},
        taints=before.taints if same else tuple(taints.values()),
        host=after.host,
    )
