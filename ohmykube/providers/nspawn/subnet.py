"""Addresses in the networks of one cluster's machines, in each of its IP families."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.model.networks import IPV4, IPV6
from ohmykube.providers.nspawn import layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ohmykube.model.networks import IpNetwork


@dataclass(frozen=True, slots=True)
class Subnet:
    """The networks of a cluster's machines, that of the primary family first.

    The cluster's bridge has the first address, its nodes those from ``layout.FIRST_HOST`` on.
    """

    networks: tuple[IpNetwork, ...]
    mtu: int = layout.MTU
    """Bytes of the largest packet between machines."""

    @classmethod
    def of(cls, texts: tuple[str, ...], mtu: int | None = None) -> Subnet:
        """Return those that were recorded."""
        return cls(tuple(ipaddress.ip_network(text) for text in texts), mtu or layout.MTU)

    @property
    def families(self) -> tuple[int, ...]:
        """IP families in their order."""
        return tuple(network.version for network in self.networks)

    @property
    def gateways(self) -> tuple[str, ...]:
        """Addresses of the cluster's bridge, where its resolver listens too."""
        return self.of_number(1)

    def of_number(self, number: int) -> tuple[str, ...]:
        """Return the addresses of a node, by its number in the cluster."""
        return tuple(str(network[number]) for network in self.networks)

    def number(self, address: str) -> int:
        """Return the number of the node with this primary address."""
        return int(ipaddress.ip_address(address)) - int(self.networks[0].network_address)

    def interfaces(self, number: int) -> tuple[str, ...]:
        """Return the addresses of a node with their prefix lengths, as ip(8) takes them."""
        pairs = zip(self.of_number(number), self.networks, strict=True)
        return tuple(f"{address}/{network.prefixlen}" for address, network in pairs)

    @property
    def numbers(self) -> range:
        """Numbers that nodes can have."""
        return range(layout.FIRST_HOST, layout.LAST_HOST + 1)

    def free_number(self, node: str, described: Sequence[str], addresses: Mapping[str, str]) -> int:
        """Return the number of a node's place in the description, or else a free one; or 0.

        Args:
            node: that has none yet.
            described: the cluster's nodes in their order.
            addresses: primary addresses of the nodes that are there.
        """
        places = dict(zip(described, self.numbers, strict=False))
        used = {self.number(address) for address in addresses.values()}
        kept = {at for name, at in places.items() if name != node and name not in addresses}
        wished = [places[node]] if node in places else []
        rest = [*(at for at in self.numbers if at not in kept), *self.numbers]
        return next((at for at in (*wished, *rest) if at not in used), 0)

    @property
    def nearby(self) -> tuple[str, ...]:
        """Networks that the cluster's namespace reaches by itself: nodes, and the way out."""
        out = {IPV4: layout.UPLINK_NETWORK, IPV6: layout.UPLINK_NETWORK6}
        return (*map(str, self.networks), *(out[family] for family in self.families))
