"""The networks that this host has routes to."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path

TABLE = Path("/proc/net/route")
"""The main table, as route(8) shows it; VPNs with a table of their own are not in it."""


@dataclass(frozen=True, slots=True)
class Route:
    """A network and the interface by which this host reaches it."""

    network: ipaddress.IPv4Network
    interface: str


def routes(table: Path = TABLE) -> tuple[Route, ...]:
    """Return the routes to networks, without the default one; none where there is no table.

    A VPN that takes everything as two halves (0.0.0.0/1, 128.0.0.0/1) is a default route too.
    """
    found = []
    with contextlib.suppress(OSError):
        for line in table.read_text().splitlines()[1:]:
            words = line.split()
            parts = (int.from_bytes(bytes.fromhex(words[n]), "little") for n in (1, 7))
            target, mask = (ipaddress.IPv4Address(part) for part in parts)
            network = ipaddress.IPv4Network(f"{target}/{mask}", strict=False)
            if network.prefixlen > 1:
                found.append(Route(network, words[0]))
    return tuple(found)
