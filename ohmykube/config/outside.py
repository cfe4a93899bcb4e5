"""``spec.network.egress`` and ``hostAccess``: a word, or a list."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from ohmykube.config import values
from ohmykube.config.problems import closest, echo
from ohmykube.model.cluster import Egress
from ohmykube.model.outside import HOST_NAME

MOST_ENTRIES = 200
_NUMERIC = re.compile(r"[0-9./]+")


def egress(value: object) -> Egress | tuple[str, ...] | None:
    """Return one of the words, or the entries of the list, each once.

    Raises:
        ValueError: it is neither, or an entry is no network and no DNS name.
    """
    words = tuple(Egress)
    if value is None:
        return None
    if isinstance(value, str):
        if value in words:
            return Egress(value)
        raise ValueError(
            f'must be "full", "none" or a list of networks and names, got {echo(value)}'
            f"{closest(value, words)}"
        )
    return tuple(dict.fromkeys(_entry(one) for one in _entries(value, '"full", "none" or a list')))


def host_access(value: object) -> tuple[int, ...]:
    """Return the ports, sorted, each once.

    Raises:
        ValueError: it is neither ``none`` nor a list of ports.
    """
    if value is None or value == "none":
        return ()
    entries = _entries(value, '"none" or a list of ports')
    for one in entries:
        if isinstance(one, bool) or not isinstance(one, int) or not 1 <= one <= 65535:
            raise ValueError(f"must have ports from 1 to 65535, got {echo(one)}")
    return tuple(sorted(set(entries)))


def _entries(value: object, expected: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"must be {expected}, got {echo(value)}")  # noqa: TRY004 - pydantic wants ValueError
    if not 1 <= len(value) <= MOST_ENTRIES:
        word = "; for nothing, write none" if not value else f", got {len(value)}"
        raise ValueError(f"must be a list of 1 to {MOST_ENTRIES} entries{word}")
    return value


def _entry(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must have networks and DNS names, got {echo(value)}")  # noqa: TRY004 - pydantic wants ValueError
    if value in tuple(Egress):
        raise ValueError(f"must not have {echo(value)} in a list: write it instead of the list")
    if value.count(":") > 1 and "//" not in value:
        return values.network(value if "/" in value else f"{value}/128")
    if ":" in value:
        raise ValueError(
            f"must have networks and DNS names, without port or scheme, got {echo(value)}"
        )
    if _NUMERIC.fullmatch(value):
        return values.network(value) if "/" in value else f"{values.ipv4(value)}/32"
    try:
        return values.domain(value.lower().removesuffix("."))
    except ValueError as error:
        hint = "; a name stands for all names below it too" if value.startswith("*.") else ""
        raise ValueError(f"must have networks and DNS names, got {echo(value)}{hint}") from error


_TEXT = {"type": "string"}
EgressValue = Annotated[
    Egress | tuple[str, ...] | None,
    PlainValidator(egress),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": [word.value for word in Egress]},
                {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MOST_ENTRIES},
                {"type": "null"},
            ],
            "examples": [["10.0.0.0/8", "registry.example.com"]],
        }
    ),
]
HostPorts = Annotated[
    tuple[int, ...],
    PlainValidator(host_access),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": ["none"]},
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 1, "maximum": 65535},
                    "minItems": 1,
                    "maxItems": MOST_ENTRIES,
                },
            ],
            "default": "none",
        }
    ),
]
EGRESS_TEXT = (
    "What nodes and pods reach outside of the cluster, where the provider makes the network: full "
    "for all that this host reaches, none, or a list of networks and DNS names (each with all "
    "names below it). Not given: full, and none in a run with --offline."
)
HOST_ACCESS_TEXT = (
    f"Ports of this host's own loopback, TCP and UDP, that nodes and pods reach at {HOST_NAME}, "
    "as a list; none for none of them."
)
