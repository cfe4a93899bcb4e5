"""Ports of 127.0.0.1 of the host that lead to servers of nodes, such as the API's."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from ohmykube.errors import LockedError
from ohmykube.model.networks import host_port

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ohmykube.model.exposure import PublishedPort

# A port is a cluster's for its life and is bound again at each start: not one of those that the
# kernel gives to outgoing connections (from 32768 on, net.ipv4.ip_local_port_range), nor a NodePort
# (30000 to 32767), nor one of Lima's clusters (from 26443 on).
FIRST_PORT, PORTS = 25443, 1000


def choose(cluster: str, promised: Collection[int], free: Callable[[int], bool]) -> int:
    """Return a port that is free now and reserved for no other cluster.

    Raises:
        LockedError: none is left.
    """
    # Clusters start at different places, so that two of different homes seldom want the same.
    start = zlib.crc32(cluster.encode()) % PORTS
    for step in range(PORTS):
        port = FIRST_PORT + (start + step) % PORTS
        if port not in promised and free(port):
            return port
    raise LockedError(
        f"no port of 127.0.0.1 between {FIRST_PORT} and {FIRST_PORT + PORTS - 1} is free",
        hint="ss -ltn  (what listens there?)",
        id="OMK-P-171",
    )


def must_be_held(cluster: str, forwards: Iterable[PublishedPort]) -> None:
    """Return if each of the forwards of a cluster has its place.

    Raises:
        LockedError: one has not: something else listens there.
    """
    for forward in forwards:
        if not forward.place:
            target = host_port(forward.target.address, forward.target.port)
            port = forward.refused_port
            raise LockedError(
                f"port {port} of 127.0.0.1, which leads to {target} of cluster {cluster}, "
                f"{forward.reason}",
                why="another program listens there, or a connection comes from there",
                hint=f"ss -tanp 'sport = :{port}'  (which one?); stop it, then run this again",
                id="OMK-P-172",
            )
