"""What services and pods of a running cluster offer to its host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ohmykube.model.exposure import (
    ANY_NODE,
    LOOPBACK,
    AskedService,
    ExposedPort,
    FixedPort,
    PortForward,
    Request,
)
from ohmykube.model.networks import host_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Object = Mapping[str, Any]

PROTOCOLS = ("tcp", "udp")
SYSTEM = "kube-system"
"""The namespace of the cluster's own pods, which are nobody's way in."""


def reduced(service: Object) -> Object:
    """Return of a service what the functions here look at."""
    metadata, spec = service["metadata"], service["spec"]
    return {
        "metadata": {key: metadata[key] for key in ("namespace", "name")},
        "spec": {key: spec[key] for key in ("type", "clusterIP", "ports") if key in spec},
        "status": service.get("status", {}),
    }


def of_service(service: Object) -> tuple[Request, ...]:
    """Return what a service offers by its type.

    A load balancer that gave an address is reached there; until one does, by the service's own
    port on the nodes.
    """
    spec, kind = service["spec"], service["spec"].get("type")
    if kind not in ("LoadBalancer", "NodePort"):
        return ()
    address = _balanced(service)
    found = []
    for port in spec.get("ports", []):
        protocol, node_port = _protocol(port), port.get("nodePort", 0)
        if protocol not in PROTOCOLS:
            continue
        if kind == "LoadBalancer":
            at = ExposedPort(address, port["port"], protocol)
            target = at if address else ExposedPort(ANY_NODE, node_port, protocol)
            wished = port["port"]
        else:
            target, wished = ExposedPort(ANY_NODE, node_port, protocol), node_port
        if target.port:
            key = f"{kind}/{_full_name(service)}:{wished}/{protocol}"
            found.append(Request(key=key, name=_name(service), target=target, place_port=wished))
    return tuple(found)


def of_pod(pod: Object) -> tuple[Request, ...]:
    """Return the ports of the nodes that lead to a pod.

    Not those of pods in the nodes' own network: of these, all ports would be told, which programs
    open for each other.
    """
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    if spec.get("hostNetwork") or namespace == SYSTEM:
        return ()
    found = []
    for container in spec.get("containers", []):
        for port in container.get("ports", []):
            number, protocol = port.get("hostPort", 0), _protocol(port)
            if number and protocol in PROTOCOLS:
                target = ExposedPort(ANY_NODE, number, protocol)
                key = f"hostPort:{number}/{protocol}"
                name = f"{_owner(pod)}.{namespace}"
                found.append(Request(key=key, name=name, target=target, place_port=number))
    return tuple(found)


def of_asked(asked: AskedService, services: Iterable[Object]) -> Request | None:
    """Return the way to a port of a service of any type; None when there is no such service."""
    for service in services:
        metadata = service["metadata"]
        if (metadata["namespace"], metadata["name"]) != (asked.namespace, asked.service):
            continue
        address = service["spec"].get("clusterIP", "")
        if not is_address(address):
            return None
        return Request(
            key=f"service/{asked.namespace}/{asked.service}:{asked.port}/{asked.protocol}"
            f"@{asked.host_address}:{asked.host_port}",
            name=f"{asked.service}.{asked.namespace}",
            target=ExposedPort(address, asked.port, asked.protocol),
            place_address=asked.host_address,
            place_port=asked.host_port or asked.port,
            fixed=bool(asked.host_port),
        )
    return None


def of_fixed(port: FixedPort) -> Request:
    """Return an entry of ``spec.ports``."""
    return Request(
        key=f"fixed/{port.host_address}:{port.host_port}/{port.protocol}",
        name="node",
        target=ExposedPort(ANY_NODE, port.node_port, port.protocol),
        place_address=port.host_address,
        place_port=port.host_port,
        fixed=True,
    )


def of_forward(forward: PortForward) -> Request:
    """Return the way to a server of a node."""
    target = forward.target
    return Request(
        key=f"forward/{forward.host_port}",
        name=target.address,
        target=target,
        place_port=forward.host_port,
        fixed=True,
    )


def of_listed(port: ExposedPort) -> Request:
    """Return a port that was asked for by its address."""
    key = f"{host_port(port.address, port.port)}/{port.protocol}"
    return Request(
        key=key, name=port.address, target=port, place_address=LOOPBACK, place_port=port.port
    )


def _balanced(service: Object) -> str:
    """Return an address that a load balancer gave, if it can be of IPv4; empty for none."""
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    addresses = [one["ip"] for one in ingress if one.get("ip")]
    return min(addresses, key=lambda one: ":" in one, default="")


def is_address(text: str) -> bool:
    """Tell whether a service's ``clusterIP`` is one: it may be empty, or the word None."""
    return "." in text or ":" in text


def _protocol(port: Object) -> str:
    return str(port.get("protocol", "TCP")).lower()


def _name(service: Object) -> str:
    metadata = service["metadata"]
    return f"{metadata['name']}.{metadata['namespace']}"


def _full_name(service: Object) -> str:
    metadata = service["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}"


def _owner(pod: Object) -> str:
    """Return what people call a pod: the set that made it, or else its own name."""
    owners = pod["metadata"].get("ownerReferences", [])
    name = str(owners[0]["name"] if owners else pod["metadata"]["name"])
    if owners and owners[0].get("kind") == "ReplicaSet":
        name = name.rpartition("-")[0] or name
    return name
