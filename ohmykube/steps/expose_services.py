"""Let this host reach the cluster's load balancers where it has no route to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.kit import amounts
from ohmykube.kube import balancers
from ohmykube.progress import Message
from ohmykube.providers.base import ExposedPort, HostExposure
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.kube.balancers import BalancedPort
    from ohmykube.model.node_state import NodeState
    from ohmykube.steps.context import Context


EXPOSE_SERVICES = Step("expose-services", "Reach the load balancers")


def expose_services(ctx: Context, state: NodeState | None) -> None:
    """Compare what is reachable with the services there are, make it so, and say where each is.

    A cluster is no worse for one that cannot be reached: that is a warning.

    Args:
        ctx: whose cluster.
        state: what a control plane has just said; None when none did.
    """
    if not isinstance(ctx.provider, HostExposure):
        EXPOSE_SERVICES.skipped(ctx.services, f"provider {ctx.provider.name} needs none")
        return
    reporter = ctx.services.reporter
    with EXPOSE_SERVICES.running(ctx.services) as result:
        if state is None:
            text = "load balancers cannot be reached from this host: the API server did not answer"
            reporter.emit(Message(text=text, level="warning"))
            return
        ports = balancers.ports(state.services)
        try:
            places = ctx.provider.publish(ctx.cluster.name, _services(ports))
        except OhmykubeError as error:
            text = f"load balancers cannot be reached from this host: {error.message}"
            reporter.emit(Message(text=text, level="warning"))
            return
        for port in ports:
            place = places.get(_service(port))
            if place is not None:
                text = f"service {port.service} port {port.port}/{port.protocol} is at {place}"
                reporter.emit(Message(text=text))
        result.detail = amounts.count(len(places), "port") if places else "there are none"


def _service(port: BalancedPort) -> ExposedPort:
    return ExposedPort(port.address, port.port, port.protocol)


def _services(ports: Sequence[BalancedPort]) -> list[ExposedPort]:
    return [_service(port) for port in ports]
