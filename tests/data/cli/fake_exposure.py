"""The commands on exposed services over a cluster that has three of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.model.exposure import Exposed, ExposedPort, PublishedPort

if TYPE_CHECKING:
    from ohmykube.workflows.expose import ExposeOptions, ExposeResult

WEB = PublishedPort(
    name="web.default",
    target=ExposedPort("10.88.0.200", 80),
    place="127.0.0.1:28443",
    refused_port=80,
    reason="is taken",
)
DNS = PublishedPort(name="dns.infra", target=ExposedPort("", 30053, "udp"), place="127.0.0.1:30053")
LOST = PublishedPort(name="node", target=ExposedPort("", 443), refused_port=443, reason="is taken")
EVERY = Exposed(ports=(WEB, DNS, LOST))


class FakeExposure:
    """Answers for ``workflows.expose``."""

    def __init__(self, calls: list[tuple]) -> None:
        self.calls = calls

    def exposed(self, services: object, name: str) -> ExposeResult:
        """Return all of them, or nothing for a cluster that is called so."""
        from ohmykube.workflows.expose import ExposeResult

        self.calls.append(("exposed", name))
        nothing = Exposed(problem="it is stopped")
        return ExposeResult(cluster=name, exposed=nothing if name == "nothing" else EVERY)

    def expose(self, services: object, name: str, options: ExposeOptions) -> ExposeResult:
        """Return the one, or nothing when it is removed."""
        from ohmykube.workflows.expose import ExposeResult

        self.calls.append(("expose", name, options))
        ports = () if options.remove else (WEB,)
        return ExposeResult(cluster=name, exposed=Exposed(ports=ports))
