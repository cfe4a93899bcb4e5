"""Which networks a new cluster takes, and which of others it hides from its own nodes and pods."""

from __future__ import annotations

import ipaddress
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError
from ohmykube.model.networks import AUTO, IPV4, RESERVED, host_of, overlap, parsed
from ohmykube.model.outside import opened_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ohmykube.model.cluster import Cluster, Network
    from ohmykube.model.networks import IpNetwork

_POD_NETWORKS = tuple(
    f"10.{second}.0.0/16" for second in (*range(244, 256), *range(128, 244), *range(1, 88))
)
_SERVICE_NETWORKS = (
    *(f"10.{second}.0.0/16" for second in range(96, 128)),
    *(f"172.{second}.0.0/16" for second in range(16, 32)),
)


def settled(
    cluster: Cluster,
    recorded: Cluster | None,
    others: Callable[[], Iterable[IpNetwork]],
) -> Cluster:
    """Return the cluster with networks in place of ``auto``.

    Those of a cluster that exists are as they were recorded. A new one gets the first that no route
    of this host, no other cluster and no address of its own lies in, so that clusters can reach
    each other some day, and all what this host reaches.

    Args:
        cluster: as it is described.
        recorded: the same as it was recorded; None for a new one.
        others: networks to keep clear of; asked only when one is to be found.

    Raises:
        ConfigError: none is left.
    """
    network = cluster.network
    pods, services = network.pod_cidr, network.service_cidr
    if recorded is not None:
        pods = recorded.network.pod_cidr if pods == AUTO else pods
        services = recorded.network.service_cidr if services == AUTO else services
    if AUTO in (pods, services):
        reserved = [taken for networks in RESERVED.values() for taken in networks]
        taken = [*others(), *reserved, *_own_addresses(cluster)]
        if pods == AUTO:
            fixed = () if services == AUTO else parsed(services)
            pods = _free("podCIDR", _POD_NETWORKS, [*taken, *fixed])
        if services == AUTO:
            services = _free("serviceCIDR", _SERVICE_NETWORKS, [*taken, *parsed(pods)])
    return replace(cluster, network=replace(network, pod_cidr=pods, service_cidr=services))


def _own_addresses(cluster: Cluster) -> Iterator[IpNetwork]:
    endpoint = host_of(cluster.network.api_server_endpoint or "")
    hosts = [node.host for node in cluster.nodes if node.host]
    for text in (endpoint, *(host.node_ip or host.address for host in hosts)):
        try:
            yield from parsed(text)
        except ValueError:
            continue  # a name, or nothing


def _free(field: str, candidates: Sequence[str], taken: Sequence[IpNetwork]) -> str:
    for text in candidates:
        if not any(overlap(ipaddress.IPv4Network(text), other) for other in taken):
            return text
    raise ConfigError(
        f"no network is left for spec.network.{field}: auto",
        why="routes of this host, other clusters or this one's own addresses lie in all of "
        f"{len(candidates)}, from {candidates[0]} to {candidates[-1]}",
        hint=f"name one in spec.network.{field}; ip route  (which are taken?)",
        id="OMK-C-590",
    )


def networks(network: Network) -> tuple[IpNetwork, ...]:
    """Return the networks of a cluster that has been made, but for what its provider chose."""
    machines = () if network.machine_cidr == AUTO else parsed(network.machine_cidr)
    return (*parsed(network.pod_cidr), *parsed(network.service_cidr), *machines)


def hidden(
    cluster: Cluster, provider: str, routes: Iterable[tuple[IpNetwork, str]]
) -> Iterator[str]:
    """Tell which networks of this host a cluster on it cannot reach, because it has them itself.

    Args:
        cluster: its networks settled.
        provider: of its machines, which reach what this host reaches.
        routes: networks that this host reaches, and by which interface.
    """
    network = cluster.network
    if not opened_by(network, offline=False).resolves:
        return
    auto = network.families == (IPV4,)
    texts = {"podCIDR": network.pod_cidr, "serviceCIDR": network.service_cidr}
    if network.machine_cidr != AUTO:
        texts["machineCIDR"] = network.machine_cidr
    own = [(f"spec.network.{field}", one) for field, text in texts.items() for one in parsed(text)]
    own += [
        (f"the way out of {provider}'s nodes,", one)
        for one in RESERVED.get(provider, ())
        if one.version in network.families
    ]
    for (field, mine), (other, interface) in itertools.product(own, routes):
        if overlap(mine, other):
            free = auto and field.startswith("spec.")
            yield (
                f"{field} {mine} overlaps {other}, which this host reaches by {interface}: nodes "
                f"and pods will not reach it{f'; {field}: auto takes a free one' * free}"
            )
