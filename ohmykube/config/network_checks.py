"""What the networks and addresses of a cluster must be to each other."""

from __future__ import annotations

import ipaddress
import itertools
from typing import TYPE_CHECKING

from ohmykube.config import fields, values
from ohmykube.model.networks import (
    AUTO,
    FAMILY_NAMES,
    IPV6,
    RESERVED,
    IpNetwork,
    families,
    family_names,
    host_of,
    overlap,
    parsed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ohmykube.config import v1
    from ohmykube.config.nodes import PlacedNode
    from ohmykube.config.problems import Path

_NETWORK = ("spec", "network")
MTU_OF_IPV6 = 1280
"""The least that IPv6 needs (RFC 8200)."""
VXLAN_BYTES = 70
"""What VXLAN over IPv6 adds to each packet."""
Found = tuple["Path", str]
"""Where something is wrong, and what."""


def problems(
    spec: v1.Spec,
    placed: Sequence[PlacedNode],
    knows: Callable[..., bool],
    *,
    count_nodes: bool,
) -> Iterator[Found]:
    """Tell what does not go together.

    Args:
        spec: of the document.
        placed: its nodes.
        knows: tells of a path whether its value is what the file says, and was not left out.
        count_nodes: it is known how many nodes there are.
    """
    network = spec.network
    texts = {
        "podCIDR": network.pod_cidr,
        "serviceCIDR": network.service_cidr,
        "machineCIDR": network.machine_cidr,
    }
    texts = {field: text for field, text in texts.items() if knows(*_NETWORK, field)}
    yield from _families(texts)
    ranges = [
        (field, network)
        for field, text in texts.items()
        if text != AUTO
        for network in parsed(text)
    ]
    for (other, theirs), (field, mine) in itertools.combinations(ranges, 2):
        if other != field and overlap(mine, theirs):
            yield (*_NETWORK, field), f"must not overlap {other} {theirs}, got {mine}"
    if count_nodes:
        yield from _room([mine for field, mine in ranges if field == "podCIDR"], len(placed))
    yield from _reserved(spec, ranges, knows)
    inside = [one for one in ranges if one[0] != "machineCIDR"]
    yield from _addresses(spec, placed, inside)
    if "podCIDR" in texts:
        yield from _of_families(spec, placed, families(texts["podCIDR"]))


def _families(texts: Mapping[str, str]) -> Iterator[Found]:
    """Kubernetes wants the primary families equal, and services of no family without pods."""
    pods = texts.get("podCIDR")
    for field, text in texts.items():
        # Machines get a network of each family that pods have.
        chosen = text == AUTO and field == "machineCIDR"
        if pods is None or chosen or families(text) == families(pods):
            continue
        auto = "; auto is a network of IPv4" if AUTO in (pods, text) else ""
        wanted = f"must have the families of podCIDR in its order: {family_names(families(pods))}"
        yield (*_NETWORK, field), f"{wanted}, got {family_names(families(text))}{auto}"


def _room(pods: Sequence[IpNetwork], nodes: int) -> Iterator[Found]:
    for network in pods:
        each = values.NODE_PREFIXES[network.version]
        room = 1 << (each - network.prefixlen)
        if room < min(nodes, fields.MOST_NODES + 1):
            text = f"must have a /{each} for each of {nodes} nodes, got {network} ({room})"
            yield (*_NETWORK, "podCIDR"), text


def _reserved(
    spec: v1.Spec, ranges: Sequence[tuple[str, IpNetwork]], knows: Callable[..., bool]
) -> Iterator[Found]:
    for name, networks in RESERVED.items():
        if spec.provider.name not in (name, "auto") or not knows("spec", "provider", "name"):
            continue
        for field, found in ranges:
            for taken in networks:
                if overlap(found, taken):
                    text = f"must not overlap {taken}, the way out of {name}'s nodes, got {found}"
                    yield (*_NETWORK, field), text


def _addresses(
    spec: v1.Spec, placed: Sequence[PlacedNode], ranges: Sequence[tuple[str, IpNetwork]]
) -> Iterator[Found]:
    found: list[Found] = []
    for one in placed:
        host = one.node.host
        if host and host.node_ip:
            found += [((*one.path, "nodeIP"), text) for text in host.node_ip.split(",")]
        elif host:
            found.append(((*one.path, "address"), host.address))
    endpoint = spec.network.api_server_endpoint
    if endpoint:
        found.append(((*_NETWORK, "apiServerEndpoint"), host_of(endpoint)))
    for path, text in found:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue  # a name: known only on the machines
        for field, network in ranges:
            if address in network:
                yield path, f"must not be inside {field} {network}, got {address}"


def _of_families(
    spec: v1.Spec, placed: Sequence[PlacedNode], wanted: tuple[int, ...]
) -> Iterator[Found]:
    """What must be of the families of the cluster: addresses of hosts, and networks outside."""
    names = family_names(wanted)
    for one in placed:
        host = one.node.host
        if host is None:
            continue
        if host.node_ip is None:
            if IPV6 in wanted:
                text = f"must have nodeIP with one address of each of {names}, as podCIDR has"
                yield one.path, text
            continue
        got = tuple(ipaddress.ip_address(text).version for text in host.node_ip.split(","))
        if got != wanted:
            text = f"must have the families of podCIDR in its order: {names}"
            yield (*one.path, "nodeIP"), f"{text}, got {host.node_ip}"
    mtu, tunneled = spec.network.mtu, spec.network.flannel.backend == "vxlan"
    least = MTU_OF_IPV6 + (VXLAN_BYTES if tunneled and spec.network.cni == "flannel" else 0)
    if IPV6 in wanted and mtu is not None and mtu < least:
        text = f"must be at least {least}, for pods need {MTU_OF_IPV6} for IPv6, got {mtu}"
        yield (*_NETWORK, "mtu"), text
    egress = spec.network.egress
    for entry in egress if isinstance(egress, tuple) else ():
        try:
            family = ipaddress.ip_network(entry).version
        except ValueError:
            continue  # a name
        if family not in wanted:
            text = f"has a network of {FAMILY_NAMES[family]}, and podCIDR gives nodes {names}"
            yield (*_NETWORK, "egress"), f"{text} alone, got {entry}"
