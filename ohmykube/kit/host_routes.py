"""The networks that this host has routes to."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = Path("/proc/net/route")
"""The main table, as route(8) shows it; VPNs with a table of their own are not in it."""
TABLE6 = Path("/proc/net/ipv6_route")
"""All routes of IPv6, those that the kernel makes by itself too."""
DEFAULT6 = 3
"""Prefix length of all public addresses (2000::/3); a shorter one is of everything, too."""
_OWN = 0x80000000 | 0x00100000
"""``RTF_LOCAL`` and ``RTF_ANYCAST`` of linux/ipv6_route.h: addresses of this host itself."""


@dataclass(frozen=True, slots=True)
class Route:
    """A network and the interface by which this host reaches it."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    interface: str


def routes(table: Path = TABLE, table6: Path = TABLE6) -> tuple[Route, ...]:
    """Return the routes to networks, without the default one; none where there is no table.

    A VPN that takes everything as two halves (0.0.0.0/1, 128.0.0.0/1) is a default route too.
    """
    return (*_of_ipv4(_lines(table)[1:]), *_of_ipv6(_lines(table6)))


def has_default6(table6: Path = TABLE6) -> bool:
    """Tell whether this host has a route of IPv6 to all that it has no other one to."""
    rows = (line.split() for line in _lines(table6))
    return any(int(row[1], 16) <= DEFAULT6 and row[9] != "lo" for row in rows)


def _lines(table: Path) -> list[str]:
    try:
        return table.read_text().splitlines()
    except OSError:
        return []


def _of_ipv4(lines: list[str]) -> Iterator[Route]:
    for line in lines:
        words = line.split()
        parts = (int.from_bytes(bytes.fromhex(words[n]), "little") for n in (1, 7))
        target, mask = (ipaddress.IPv4Address(part) for part in parts)
        network = ipaddress.IPv4Network(f"{target}/{mask}", strict=False)
        if network.prefixlen > 1:
            yield Route(network, words[0])


def _of_ipv6(lines: list[str]) -> Iterator[Route]:
    for line in lines:
        words = line.split()
        network = ipaddress.IPv6Network((int(words[0], 16), int(words[1], 16)), strict=False)
        own = int(words[8], 16) & _OWN or words[9] == "lo"
        near = own or network.is_link_local or network.is_multicast
        if network.prefixlen > DEFAULT6 and not near:
            yield Route(network, words[9])
