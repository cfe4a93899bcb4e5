"""``spec.ports``: each entry is a port of this host and one of the nodes; mistakes are named."""

from __future__ import annotations

import pytest

from ohmykube.config import ports
from ohmykube.model.exposure import FixedPort


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080:80", FixedPort(host_port=8080, node_port=80)),
        ("8080:80/tcp", FixedPort(host_port=8080, node_port=80)),
        ("53:5353/UDP", FixedPort(host_port=53, node_port=5353, protocol="udp")),
        ("127.0.0.1:5432:30032/tcp", FixedPort(host_port=5432, node_port=30032)),
        ("0.0.0.0:1:65535", FixedPort(host_address="0.0.0.0", host_port=1, node_port=65535)),
    ],
)
def test_an_entry_is_read_and_written_the_same(text: str, expected: FixedPort) -> None:
    assert ports.port(text) == expected
    assert ports.port(str(expected)) == expected


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("8080", "entries like"),
        ("8080:", "entries like"),
        (":80", "entries like"),
        ("a:80", "entries like"),
        ("8080-8090:80", "entries like"),
        ("[::1]:8080:80", "entries like"),
        ("8080:80/", "entries like"),
        ("", "entries like"),
        (None, "entries like"),
        ({"8080": 80}, "entries like"),
        ("0:80", "from 1 to 65535, got 0"),
        ("80:0", "from 1 to 65535, got 0"),
        ("65536:80", "from 1 to 65535, got 65536"),
        ("8080:99999/udp", "from 1 to 65535, got 99999"),
        ("8080:80/sctp", "protocol tcp or udp"),
        ("300.0.0.1:8080:80", "IPv4"),
        ("127.1:8080:80", "IPv4"),
        (8080, "in quotes"),
        (1342, "in quotes"),  # what YAML makes of 22:22
        (True, "in quotes"),
    ],
)
def test_a_mistake_is_named(value: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ports.port(value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("8080:80", "8080:81", True),
        ("8080:80", "127.0.0.1:8080:81/tcp", True),
        ("8080:80", "0.0.0.0:8080:80", True),
        ("8080:80/udp", "8080:80", False),
        ("8080:80", "8081:80", False),
        ("127.0.0.2:8080:80", "8080:80", False),
    ],
)
def test_no_port_of_the_host_is_there_twice(one: str, other: str, same: bool) -> None:
    """All addresses of the host have each of them."""
    for pair in ([one, other], [other, one]):
        if same:
            with pytest.raises(ValueError, match="twice"):
                ports.ports(pair)
        else:
            assert len(ports.ports(pair)) == 2


def test_it_is_a_list_of_bounded_length() -> None:
    assert ports.ports(None) == ports.ports([]) == ()
    many = [f"{number}:80" for number in range(1, ports.MOST_PORTS + 2)]
    assert len(ports.ports(many[:-1])) == ports.MOST_PORTS
    with pytest.raises(ValueError, match="at most"):
        ports.ports(many)
    with pytest.raises(ValueError, match="must be a list"):
        ports.ports("8080:80")
