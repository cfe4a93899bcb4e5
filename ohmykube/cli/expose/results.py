"""Where services of a cluster are on this host, as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ohmykube.cli._output import document
from ohmykube.cli.expose.texts import name_of

if TYPE_CHECKING:
    from ohmykube.model.exposure import Exposed
    from ohmykube.workflows.expose import ExposeResult


class ReachedPort(TypedDict):
    """A port of a cluster and where it is; ``place`` and ``name`` are empty while it is nowhere."""

    service: str
    port: int
    protocol: Literal["tcp", "udp"]
    place: str
    name: str
    note: str


class ExposedServices(TypedDict):
    """``ohmykube expose`` and ``ohmykube expose list``."""

    cluster: str
    items: list[ReachedPort]
    problem: str


KINDS: dict[str, type] = {"ExposedServices": ExposedServices}
"""Document kinds by name."""


def exposed(found: ExposeResult) -> dict[str, Any]:
    """Return where services are."""
    return document(
        "ExposedServices",
        {
            "cluster": found.cluster,
            "items": items(found.cluster, found.exposed),
            "problem": found.exposed.problem,
        },
    )


def items(cluster: str, found: Exposed) -> list[dict[str, Any]]:
    """Return one entry for each port."""
    return [
        {
            "service": one.name,
            "port": one.target.port,
            "protocol": one.target.protocol,
            "place": one.place,
            "name": name_of(cluster, one) if one.place else "",
            "note": one.note,
        }
        for one in found.ports
    ]
