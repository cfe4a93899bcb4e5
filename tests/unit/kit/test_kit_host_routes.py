"""Networks that this host has routes to."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit import host_routes

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"


def line(interface: str, target: str, mask: str) -> str:
    return f"{interface}\t{target}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], []),
        ([line("eth0", "00000000", "00000000")], []),
        # openvpn's two halves of everything
        ([line("tun0", "00000000", "00000080"), line("tun0", "00000080", "00000080")], []),
        ([line("wg0", "0000F40A", "0000FFFF")], [("10.244.0.0/16", "wg0")]),
        ([line("eth0", "0101A8C0", "FFFFFFFF")], [("192.168.1.1/32", "eth0")]),
    ],
)
def test_networks_are_told_and_the_default_is_none(
    tmp_path: Path, lines: list[str], found: list[tuple[str, str]]
) -> None:
    table = tmp_path / "route"
    table.write_text(HEAD + "".join(lines))
    routes = host_routes.routes(table, tmp_path / "absent")
    assert [(str(route.network), route.interface) for route in routes] == found


def line6(network: str, interface: str, flags: int = 1) -> str:
    target = ipaddress.IPv6Network(network)
    hexadecimal = target.network_address.packed.hex()
    none = "0" * 32
    return (
        f"{hexadecimal} {target.prefixlen:02x} {none} 00 {none} 00000400 00000001 00000000"
        f" {flags:08x} {interface:>8}\n"
    )


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], []),
        ([line6("fd00:7::/48", "wg0")], [("fd00:7::/48", "wg0")]),
        ([line6("2001:db8::7/128", "eth0")], [("2001:db8::7/128", "eth0")]),
        # The default ones: whole, its negative entry on lo, and that of public addresses.
        ([line6("::/0", "eth0", 3), line6("::/0", "lo", 0x00200200), line6("2000::/3", "x")], []),
        # The kernel's own: addresses of this host, anycast, link-local, multicast, loopback.
        ([line6("fd00::2/128", "eth0", 0x80200001)], []),
        ([line6("fd00::/128", "eth0", 0x00300001)], []),
        ([line6("fe80::/64", "eth0"), line6("ff00::/8", "eth0"), line6("::1/128", "lo")], []),
    ],
)
def test_networks_of_ipv6_are_told_and_what_every_host_has_is_none(
    tmp_path: Path, lines: list[str], found: list[tuple[str, str]]
) -> None:
    table = tmp_path / "ipv6_route"
    table.write_text("".join(lines))
    routes = host_routes.routes(tmp_path / "absent", table)
    assert [(str(route.network), route.interface) for route in routes] == found


@pytest.mark.parametrize(
    ("lines", "everywhere"),
    [
        ([], False),
        ([line6("::/0", "lo", 0x00200200)], False),
        ([line6("::/0", "lo", 0x00200200), line6("::/0", "eth0", 3)], True),
        ([line6("2000::/3", "wg0", 3)], True),
        ([line6("fd00:7::/48", "wg0"), line6("fe80::/64", "eth0")], False),
    ],
)
def test_a_way_to_everything_of_ipv6_is_a_default_route_of_a_network(
    tmp_path: Path, lines: list[str], everywhere: bool
) -> None:
    table = tmp_path / "ipv6_route"
    table.write_text("".join(lines))
    assert host_routes.has_default6(table) is everywhere
    assert host_routes.has_default6(tmp_path / "absent") is False


def test_no_table_is_no_route(tmp_path: Path) -> None:
    assert host_routes.routes(tmp_path / "absent", tmp_path / "absent") == ()
