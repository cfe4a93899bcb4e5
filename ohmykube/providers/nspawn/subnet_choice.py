"""Which networks the machines of a new cluster get."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING

from ohmykube.errors import ProviderError
from ohmykube.kit import host_routes, locks
from ohmykube.model.names import HIDDEN
from ohmykube.model.networks import AUTO, FAMILY_NAMES, IPV4, IPV6, RESERVED, overlap, parsed
from ohmykube.providers.nspawn import records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ohmykube.model.cluster import Network
    from ohmykube.model.networks import IpNetwork
    from ohmykube.providers.nspawn.host_system import HostSystem

CANDIDATES = {
    IPV4: tuple(f"10.88.{number}.0/24" for number in range(256)),
    IPV6: tuple(f"fd00:10:88:{number:x}::/64" for number in range(256)),
}
"""Networks that are taken without being asked for, the first one first."""


@contextlib.contextmanager
def alone(host: HostSystem) -> Iterator[None]:
    """Let no other cluster choose until the one that did is recorded."""
    # No cluster, nor one of our own, is called so.
    path = host.run / "locks" / "_networks.lock"
    with locks.exclusive(path, "the networks of new clusters", wait_seconds=60):
        yield


def chosen(
    host: HostSystem, cluster: str, wanted: Network | None, others: Sequence[IpNetwork]
) -> tuple[str, ...]:
    """Return the networks of a new cluster's machines, that of the primary IP family first.

    Clusters that share none can be joined later. One that is made for ohmykube itself alone takes
    none away from others.

    Args:
        host: whose routes are kept clear of, as far as that is possible.
        cluster: the name.
        wanted: the description; None where there is none.
        others: networks of the machines of other clusters.

    Raises:
        ProviderError: none is left.
    """
    if wanted is None or cluster.startswith(HIDDEN):
        return (records.NETWORK,)
    if wanted.machine_cidr != AUTO:
        return tuple(wanted.machine_cidr.split(","))
    routes = [route.network for route in host_routes.routes(*host.route_tables)]
    own = [*parsed(wanted.pod_cidr), *parsed(wanted.service_cidr), *RESERVED["nspawn"]]
    return tuple(_free(family, [*own, *others], routes) for family in wanted.families)


def _free(family: int, avoided: Sequence[IpNetwork], hidden: Sequence[IpNetwork]) -> str:
    """Return the first that overlaps nothing, or at least nothing of ``avoided``."""
    candidates = CANDIDATES[family]
    usable = [text for text in candidates if not _overlaps(text, avoided)]
    if not usable:
        raise ProviderError(
            f"no {FAMILY_NAMES[family]} network is left for the machines of another cluster",
            why=f"other clusters, or this one's pods or services, have all of {len(candidates)}, "
            f"from {candidates[0]} to {candidates[-1]}",
            hint="name one in spec.network.machineCIDR, or ohmykube list  (which can go?)",
            id="OMK-P-662",
        )
    found = next((text for text in usable if not _overlaps(text, hidden)), usable[0])
    return str(ipaddress.ip_network(found))


def _overlaps(text: str, others: Sequence[IpNetwork]) -> bool:
    return any(overlap(ipaddress.ip_network(text), other) for other in others)
