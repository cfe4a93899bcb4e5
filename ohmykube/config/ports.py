"""``spec.ports``: ports of this host that lead to the nodes."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from ohmykube.config import values
from ohmykube.config.problems import echo
from ohmykube.model.exposure import ANY_ADDRESS, LOOPBACK, FixedPort

MOST_PORTS = 200
_FORM = re.compile(
    r"(?:(?P<address>[0-9.]+):)?(?P<host>[0-9]+):(?P<node>[0-9]+)(?:/(?P<protocol>[A-Za-z]+))?"
)
_PATTERN = r"^([0-9.]+:)?[0-9]+:[0-9]+(/([Tt][Cc][Pp]|[Uu][Dd][Pp]))?$"
"""The same as other programs read it, for the schema."""
_SHAPE = '"HOST:NODE", such as "8080:80", "127.0.0.1:5432:30032" or "5353:53/udp"'


def ports(value: object) -> tuple[FixedPort, ...]:
    """Return the entries in their order.

    Raises:
        ValueError: it is no list of such entries, or two want the same port of this host.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError(f"must be a list of {_SHAPE}, got {echo(value)}")  # noqa: TRY004 - pydantic wants ValueError
    if len(value) > MOST_PORTS:
        raise ValueError(f"must have at most {MOST_PORTS} entries, got {len(value)}")
    found = [port(one) for one in value]
    for (one, first), (other, second) in combinations(zip(found, value, strict=True), 2):
        if _overlap(one, other):
            raise ValueError(
                f"must not have port {one.host_port}/{one.protocol} of this host twice: "
                f"{echo(first)} and {echo(second)}"
            )
    return tuple(found)


def port(value: object) -> FixedPort:
    """Return one entry; raises ValueError."""
    if isinstance(value, int):
        # YAML 1.1 reads some of them as numbers to the base of 60.
        raise ValueError(f"must have entries in quotes: {_SHAPE}, got the number {value}")  # noqa: TRY004 - pydantic wants ValueError
    form = _FORM.fullmatch(value) if isinstance(value, str) else None
    if form is None:
        raise ValueError(f"must have entries like {_SHAPE}, got {echo(value)}")
    numbers = [int(form[name]) for name in ("host", "node")]
    for number in numbers:
        if not 1 <= number <= 65535:
            raise ValueError(f"must have ports from 1 to 65535, got {number} in {echo(value)}")
    protocol = (form["protocol"] or "tcp").lower()
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"must have the protocol tcp or udp, got {echo(value)}")
    address = form["address"]
    return FixedPort(
        host_address=LOOPBACK if address is None else values.ipv4(address),
        host_port=numbers[0],
        node_port=numbers[1],
        protocol=protocol,
    )


def _overlap(one: FixedPort, other: FixedPort) -> bool:
    same = (one.host_port, one.protocol) == (other.host_port, other.protocol)
    addresses = {one.host_address, other.host_address}
    return same and (len(addresses) == 1 or ANY_ADDRESS in addresses)


Ports = Annotated[
    tuple[FixedPort, ...],
    PlainValidator(ports),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "array",
                    "items": {"type": "string", "pattern": _PATTERN},
                    "maxItems": MOST_PORTS,
                },
                {"type": "null"},
            ],
            "default": [],
            "examples": [["8080:80", "127.0.0.1:5432:30032/tcp"]],
        }
    ),
]
PORTS_TEXT = (
    "Ports of this host that lead to a port of the nodes, as [ADDRESS:]HOST:NODE[/udp]; the "
    "address is 127.0.0.1 when not given."
)
