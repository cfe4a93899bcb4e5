"""Let this host reach the cluster's load balancers where it has no route to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.kube import balancers
from ohmykube.progress import Message
from ohmykube.providers.base import HostExposure, Service
from ohmykube.steps.fetch_kubeconfig import shell_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.kube.balancers import BalancedPort
    from ohmykube.steps.base import Run


class Publish:
    """What is reachable is compared with the services there are, and made so."""

    name = "publish"
    title = "Reach the load balancers"

    def skip_reason(self, run: Run) -> str | None:
        """Nothing to do where the host has a route."""
        if isinstance(run.provider, HostExposure):
            return None
        return f"provider {run.provider.name} needs none"

    def run(self, run: Run) -> str:
        """Say where each service is; a cluster is no worse for one that cannot be reached."""
        if not isinstance(run.provider, HostExposure):
            return ""
        reporter = run.services.reporter
        try:
            remote = shell_of(run, run.cluster.control_planes[0].name)
            ports = balancers.balanced(remote, slowdown=run.slowdown)
            places = run.provider.publish(run.cluster.name, _services(ports))
        except OhmykubeError as error:
            text = f"load balancers cannot be reached from this host: {error.message}"
            reporter.emit(Message(text=text, level="warning"))
            return ""
        for port in ports:
            place = places.get(_service(port))
            if place is not None:
                text = f"service {port.service} port {port.port}/{port.protocol} is at {place}"
                reporter.emit(Message(text=text))
        return f"{len(places)} ports" if places else "there are none"


def _service(port: BalancedPort) -> Service:
    return Service(port.address, port.port, port.protocol)


def _services(ports: Sequence[BalancedPort]) -> list[Service]:
    return [_service(port) for port in ports]
