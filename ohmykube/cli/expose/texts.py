"""Where services of a cluster are on this host, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.model.exposure import LOOPBACK
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from ohmykube.model.exposure import Exposed, PublishedPort
    from ohmykube.workflows.expose import ExposeOptions, ExposeResult

MOST_AT_THE_END = 10
"""Of places that are named at the end of another command."""


def name_of(cluster: str, port: PublishedPort) -> str:
    """Return a name with a port by which this host reaches it, else the place; empty for none.

    All names below ``localhost`` are 127.0.0.1 (RFC 6761), as systemd, glibc and browsers have it.
    """
    address, _, number = port.place.rpartition(":")
    return f"{port.name}.{cluster}.localhost:{number}" if address == LOOPBACK else port.place


def ports(cluster: str, exposed: Exposed) -> str:
    """Return one row for each port."""
    if not exposed.ports:
        text = f'Nothing of cluster "{cluster}" is reachable from this host\n'
    else:
        rows = [
            (
                one.name,
                f"{one.target.port}/{one.target.protocol}",
                one.place or "nowhere",
                name_of(cluster, one) if one.place else "",
                one.note,
            )
            for one in exposed.ports
        ]
        text = table(("service", "port", "place", "name", "note"), rows)
    return text + (f"\n{exposed.problem}\n" if exposed.problem else "")


def asked(result: ExposeResult, options: ExposeOptions) -> str:
    """Return where the service is that was asked for."""
    service = f"{options.service}.{options.namespace}"
    if options.remove and not result.exposed.ports:
        return f'Service {service} of cluster "{result.cluster}" is not exposed any more\n'
    return ports(result.cluster, result.exposed)


def places(cluster: str, exposed: Exposed) -> list[str]:
    """Return a few lines for the end of a command."""
    there = [one for one in exposed.ports if one.place]
    if not there:
        return []
    names = [name_of(cluster, one) for one in there[:MOST_AT_THE_END]]
    width = max(map(len, names))
    lines = ["", "  This host reaches"]
    for name, one in zip(names, there, strict=False):
        what = f"{one.name} port {one.target.port}/{one.target.protocol}"
        lines.append(f"  {name:{width}}  {what}{f', as {one.note}' if one.note else ''}")
    if len(there) > len(names):
        lines.append(f"  and {len(there) - len(names)} more: ohmykube expose list {cluster}")
    return lines
