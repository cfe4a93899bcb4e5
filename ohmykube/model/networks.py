"""Networks and addresses of clusters, in one IP family or in two.

As Kubernetes has it, a field with a network of each family is text with a comma, the cluster's
primary family first: ``10.244.0.0/16,fd00:10:244::/56``.
"""

from __future__ import annotations

import ipaddress

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
AUTO = "auto"
"""Instead of a network: one that is free when the cluster is made, of IPv4."""
IPV4, IPV6 = 4, 6
FAMILY_NAMES = {IPV4: "IPv4", IPV6: "IPv6"}

RESERVED: dict[str, tuple[IpNetwork, ...]] = {
    "nspawn": (ipaddress.IPv4Network("10.88.1.0/24"), ipaddress.IPv6Network("fd00::/64"))
}
"""Networks that a provider needs for the way out of each of its clusters."""


def parsed(text: str) -> tuple[IpNetwork, ...]:
    """Return the networks of a field; raises ValueError for what is none, such as ``AUTO``."""
    return tuple(ipaddress.ip_network(part) for part in text.split(","))


def families(text: str) -> tuple[int, ...]:
    """Return the IP families of a field in their order: ``(4,)``, ``(6, 4)`` and so on."""
    return (IPV4,) if text == AUTO else tuple(network.version for network in parsed(text))


def family_names(versions: tuple[int, ...]) -> str:
    """Return families for people: ``IPv4 and IPv6``."""
    return " and ".join(FAMILY_NAMES[version] for version in versions)


def overlap(one: IpNetwork, other: IpNetwork) -> bool:
    """Tell whether two networks have an address in common; those of two families have none."""
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and one.overlaps(other)
    return isinstance(other, ipaddress.IPv6Network) and one.overlaps(other)


def host_port(address: str, port: int) -> str:
    """Return ``address:port``, with an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def host_of(place: str) -> str:
    """Return the host of ``host:port``, without brackets; empty when there is no port."""
    return place.rpartition(":")[0].strip("[]")
