"""What the machines of a cluster may reach beyond their own network."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.model.cluster import Egress
from ohmykube.model.networks import AUTO, parsed

if TYPE_CHECKING:
    from ohmykube.model.cluster import Network

HOST_NAME = "host.ohmykube.internal"
"""The host that a cluster runs on, as its nodes and pods call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What of the outside is open to a cluster; nothing when all fields are empty."""

    everything: bool = False
    """All that the host reaches. The host's own loopback is not among it."""
    networks: tuple[str, ...] = ()
    """As ``192.0.2.0/24`` or ``2001:db8::/32``; without effect beside ``everything``."""
    names: tuple[str, ...] = ()
    """DNS names that are open with all names below them; without effect beside ``everything``."""
    host_ports: tuple[int, ...] = ()
    """Ports, of TCP and UDP, of the host's own loopback, reached at ``HOST_NAME``."""
    own: tuple[str, ...] = ()
    """Networks of the cluster's own pods and services: what meets nobody there is refused, and does
    not go out into networks of the same addresses."""

    @property
    def resolves(self) -> bool:
        """Tell whether names of the outside are of any use."""
        return bool(self.everything or self.networks or self.names)

    @property
    def nothing(self) -> bool:
        """Tell whether no packet may leave."""
        return not (self.resolves or self.host_ports)

    def __str__(self) -> str:
        """Return it for people, in a few words."""
        parts = ["all that this host reaches"] if self.everything else []
        if not self.everything:
            parts += [*self.networks, *self.names]
        if self.host_ports:
            ports = ", ".join(map(str, self.host_ports))
            parts.append(f"port{'s' * (len(self.host_ports) > 1)} {ports} of this host")
        return ", ".join(parts) or "nothing outside of the cluster"


def opened_by(network: Network, *, offline: bool) -> Outside:
    """Return what a description opens.

    Args:
        network: the description.
        offline: the run uses no network: without a word about it, the cluster gets none either.
    """
    egress, own = network.egress, own_networks(network)
    if egress is None:
        egress = Egress.NONE if offline else Egress.FULL
    if isinstance(egress, Egress):
        return Outside(everything=egress is Egress.FULL, host_ports=network.host_access, own=own)
    networks = tuple(entry for entry in egress if is_network(entry))
    names = tuple(entry for entry in egress if entry not in networks)
    return Outside(networks=networks, names=names, host_ports=network.host_access, own=own)


def own_networks(network: Network) -> tuple[str, ...]:
    """Return the networks of a cluster's pods and services, as far as they are settled."""
    fields = (network.pod_cidr, network.service_cidr)
    return tuple(str(one) for text in fields if text != AUTO for one in parsed(text))


def is_network(entry: str) -> bool:
    """Tell whether an entry of a list is a network, and not a name."""
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        return False
    return True
