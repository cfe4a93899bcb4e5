"""Let this host reach the cluster's services where it has no route to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.kit import amounts
from ohmykube.kube import balancers
from ohmykube.model.exposure import AskedService, Exposed, ExposedPort, Exposure, PublishedPort
from ohmykube.progress import Message
from ohmykube.providers.base import FollowsServices, HostExposure
from ohmykube.state import layout
from ohmykube.steps.ports_access import ports_access
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from ohmykube.model.node_state import NodeState
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes


EXPOSE_SERVICES = Step("expose-services", "Reach the services")


def expose_services(ctx: Context, nodes: Nodes, state: NodeState | None) -> Exposed:
    """Compare what is reachable with the services there are, make it so, and return where each is.

    A cluster is no worse for one that cannot be reached: that is a warning.

    Args:
        ctx: whose cluster.
        nodes: the way to all of its nodes.
        state: what a control plane has just said; None when none did.
    """
    provider = ctx.provider
    if not isinstance(provider, HostExposure):
        EXPOSE_SERVICES.skipped(ctx.services, f"provider {ctx.provider.name} needs none")
        return Exposed()
    with EXPOSE_SERVICES.running(ctx.services) as result:
        exposed = Exposed(problem="the API server did not answer")
        if state is not None:
            try:
                exposed = _exposed(ctx, provider, nodes, state)
            except OhmykubeError as error:
                exposed = Exposed(problem=error.message)
        if exposed.problem or not exposed.complete:
            why = exposed.problem or "the API server has not answered yet"
            text = f"services cannot be reached from this host: {why}"
            ctx.services.reporter.emit(Message(text=text, level="warning"))
        for port in exposed.ports:
            if not port.place:
                text = f"{port.name} port {port.target.port} cannot be reached: {port.note}"
                ctx.services.reporter.emit(Message(text=text, level="warning"))
        found = sum(bool(port.place) for port in exposed.ports)
        result.detail = amounts.count(found, "port") if found else "there are none"
    return exposed


def _exposed(ctx: Context, provider: HostExposure, nodes: Nodes, state: NodeState) -> Exposed:
    if not isinstance(provider, FollowsServices):
        ports = balancers.ports(state.services)
        listed = {ExposedPort(port.address, port.port, port.protocol): port for port in ports}
        places = provider.publish(ctx.cluster.name, list(listed))
        return Exposed(
            ports=tuple(
                PublishedPort(name=listed[port].name, target=port, place=place)
                for port, place in sorted(places.items())
            )
        )
    return follow_services(ctx, provider, nodes)


def follow_services(ctx: Context, provider: FollowsServices, nodes: Nodes) -> Exposed:
    """Let a provider follow the cluster's services; return where they are now.

    Raises:
        ClusterError, NodeError: no account for that can be made.
        ProviderError: no port can be held.
    """
    exposed = _followed(ctx, provider, nodes)
    # The account may have been deleted, or the cluster been put back to an earlier state.
    return _followed(ctx, provider, nodes, renew=True) if exposed.refused else exposed


def _followed(
    ctx: Context, provider: FollowsServices, nodes: Nodes, *, renew: bool = False
) -> Exposed:
    exposure = Exposure(
        access=ports_access(ctx, nodes, renew=renew),
        fixed=ctx.cluster.ports,
        asked=asked_services(ctx),
    )
    return provider.expose(ctx.cluster.name, exposure)


def asked_services(ctx: Context) -> tuple[AskedService, ...]:
    """Return the services that somebody asked to be exposed."""
    try:
        told = json.loads((ctx.directory / layout.ASKED_SERVICES).read_text())
        return tuple(AskedService(**one) for one in told)
    except (OSError, ValueError, TypeError):
        return ()
