"""Networks and addresses, in one IP family or in two."""

from __future__ import annotations

import ipaddress
import itertools

import pytest

from ohmykube.model import networks
from ohmykube.model.cluster import Network


@pytest.mark.parametrize(
    ("text", "families", "people"),
    [
        ("auto", (4,), "IPv4"),
        ("10.244.0.0/16", (4,), "IPv4"),
        ("fd00:7::/56", (6,), "IPv6"),
        ("10.244.0.0/16,fd00:7::/56", (4, 6), "IPv4 and IPv6"),
        ("fd00:7::/56,10.244.0.0/16", (6, 4), "IPv6 and IPv4"),
    ],
)
def test_the_families_of_a_cluster_are_those_of_its_pods_in_their_order(
    text: str, families: tuple[int, ...], people: str
) -> None:
    assert networks.families(text) == Network(pod_cidr=text).families == families
    assert networks.family_names(families) == people


def test_networks_of_two_families_never_overlap() -> None:
    texts = (
        "10.0.0.0/8",
        "10.1.0.0/16",
        "11.0.0.0/8",
        "::/0",
        "fd00::/8",
        "fd00:1::/64",
        "2001::/16",
    )
    for one, other in itertools.product(map(ipaddress.ip_network, texts), repeat=2):
        first, last = one[0], one[-1]
        expected = one.version == other.version and (
            first in other or last in other or other[0] in one
        )
        assert networks.overlap(one, other) is expected, (one, other)


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1", "::1", "2001:db8::7", "cp1.example"])
@pytest.mark.parametrize("port", [1, 6443, 65535])
def test_the_host_of_a_place_is_what_the_place_was_made_of(address: str, port: int) -> None:
    place = networks.host_port(address, port)
    assert place.endswith(f":{port}")
    assert place.startswith("[") is (":" in address)
    assert networks.host_of(place) == address


def test_what_has_no_port_has_no_host() -> None:
    assert networks.host_of("") == ""
