"""What follows once the machines run and are configured: a healthy cluster within reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.model.node_state import answering
from ohmykube.steps.cluster_api import cluster_api
from ohmykube.steps.expose_services import expose_services
from ohmykube.steps.fetch_kubeconfig import fetch_kubeconfig, keep_kubeconfig
from ohmykube.steps.wait_ready import tell_healthy, wait_ready

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ohmykube.model.exposure import Exposed
    from ohmykube.model.node_state import NodeState
    from ohmykube.planning.observation import Observed
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """A cluster that is healthy."""

    kubeconfig: Path
    """For the user."""
    answers: Mapping[str, NodeState]
    """What its nodes have said last, by name."""
    exposed: Exposed
    """Where this host reaches its services."""


def hand_over(ctx: Context, nodes: Nodes, seconds: float | None, *, usual: float) -> HandedOver:
    """Fetch the kubeconfig, wait for a healthy cluster, and let this host reach its services.

    Args:
        ctx: whose cluster.
        nodes: the way to all of its nodes.
        seconds: as ``wait_ready``.
        usual: as ``wait_ready``.

    Raises:
        ClusterError: no control plane answers, or the nodes do not become healthy.
    """
    path = fetch_kubeconfig(ctx, nodes, cluster_api(ctx.cluster, nodes))
    answers = wait_ready(ctx, nodes, seconds, usual=usual)
    control_plane = answering(answers)
    exposed = expose_services(ctx, nodes, answers[control_plane] if control_plane else None)
    return HandedOver(kubeconfig=path, answers=answers, exposed=exposed)


def hand_over_healthy(ctx: Context, nodes: Nodes, observed: Observed) -> HandedOver:
    """Do the same for a cluster that was found healthy: what its nodes said is not asked again."""
    state = observed.answers[observed.control_plane]
    path = keep_kubeconfig(ctx, observed.machines[observed.control_plane], state)
    tell_healthy(ctx)
    exposed = expose_services(ctx, nodes, state)
    return HandedOver(kubeconfig=path, answers=observed.answers, exposed=exposed)
