"""Networks that this host has routes to."""

from __future__ import annotations

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
    routes = host_routes.routes(table)
    assert [(str(route.network), route.interface) for route in routes] == found


def test_no_table_is_no_route(tmp_path: Path) -> None:
    assert host_routes.routes(tmp_path / "absent") == ()
