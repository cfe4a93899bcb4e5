"""Services of type LoadBalancer, as a running cluster has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PROTOCOLS = ("tcp", "udp")


@dataclass(frozen=True, slots=True, order=True)
class BalancedPort:
    """One port at one address of a service."""

    name: str
    """Of the service, as ``name.namespace``."""
    address: str
    port: int
    protocol: str
    """``tcp`` or ``udp``."""


def ports(services: Iterable[Mapping[str, Any]]) -> tuple[BalancedPort, ...]:
    """Return the ports of services that have an IPv4 address from a load balancer, sorted.

    Args:
        services: as the API has them.
    """
    found = []
    for item in services:
        if item["spec"].get("type") != "LoadBalancer":
            continue
        name = f"{item['metadata']['name']}.{item['metadata']['namespace']}"
        ingress = item.get("status", {}).get("loadBalancer", {}).get("ingress", [])
        addresses = [one["ip"] for one in ingress if "." in one.get("ip", "")]
        for port in item["spec"].get("ports", []):
            protocol = port.get("protocol", "TCP").lower()
            if protocol in _PROTOCOLS:
                found += [BalancedPort(name, ip, port["port"], protocol) for ip in addresses]
    return tuple(sorted(found))
