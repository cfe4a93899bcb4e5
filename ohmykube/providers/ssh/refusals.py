"""What the provider refuses, as errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError, LockedError, ProviderError
from ohmykube.providers.ssh.host_facts import MARKER

if TYPE_CHECKING:
    from ohmykube.model.cluster import Host
    from ohmykube.providers.ssh.host_facts import Marker
    from ohmykube.providers.ssh.records import Remembered


def moves(host: Host, known: Remembered) -> bool:
    """Tell whether a description wants a node elsewhere than where it may be."""
    return known.marked and known.host.address != host.address


def refuse_move(node: str, host: Host, known: Remembered | None) -> None:
    """Refuse another host for a node: what is on its host would be forgotten."""
    if known is not None and moves(host, known):
        raise LockedError(
            f"node {node} is on host {known.host.address} already",
            why=f"the description says {host.address}, and a host leaves when it was reset",
            hint="give the new host a node name of its own; the old node is reset then",
            id="OMK-V-351",
        )


def no_host(node: str) -> ConfigError:
    """Return the error for a node that the description gives no host."""
    return ConfigError(
        f'node "{node}" has no host',
        why="provider ssh needs an address for every node",
        hint="give the node a `host:` in the cluster file",
        id="OMK-C-194",
    )


def refuse_taken(node: str, marker: Marker | None) -> None:
    """Refuse a host with the marker of another cluster or node."""
    if marker is None:
        return
    owner = f'cluster "{marker.cluster}", node "{marker.node}"' if marker.cluster else "unknown"
    raise LockedError(
        f"the host of node {node} belongs to another cluster or node",
        why=f"its marker {MARKER} says: {owner}, id {marker.id[:8] or '-'}",
        hint=f"delete that cluster first; if it is long gone, remove {MARKER} on the host",
        id="OMK-V-112",
    )


def no_power(node: str, verb: str, problem: str) -> ProviderError:
    """Return the error for a machine that is to be switched."""
    return ProviderError(
        f"provider ssh cannot {verb} node {node}",
        why=problem or "its machines exist on their own",
        hint="switch the machine by its own means",
        id="OMK-V-113",
    )
