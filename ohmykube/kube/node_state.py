"""The question to a node what it is like, and its answer.

It is asked by a program of the collection, ``PROGRAM``, that the modules there share: who writes
what is recorded on a node also knows how to compare it. It is fed to the node's own Python, so one
ssh command brings everything.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ohmykube.errors import NodeError
from ohmykube.kit import paths
from ohmykube.kit.secret import Secret
from ohmykube.kube.api import REQUEST_SECONDS
from ohmykube.model.cluster import NO_CNI
from ohmykube.model.networks import IPV4, IPV6, parsed
from ohmykube.model.node_state import ApiNode, AppliedObject, NodeState

if TYPE_CHECKING:
    from ohmykube.model.cluster import Network

PROGRAM = ("plugins/module_utils/pod_network.py", "plugins/module_utils/node_state.py")
"""Files of the collection, one program when they stand one after the other."""

OVERLAYS = {IPV4: "flannel.", IPV6: "flannel-v6."}
"""Starts of the names of flannel's VXLAN cards; a node has one of each IP family of the cluster,
with the first address of its pod network."""

_FUTURE = "from __future__ import annotations\n"
_JOINTS = re.compile(
    rf"^{_FUTURE}|^from ansible_collections\.\S+ import (\([^)]*\)|.*)\n", re.MULTILINE
)
"""What must be first, and what is there already when files stand one after the other."""
_SERVER = re.compile(r"\bserver: [\"']?https://([^\s\"']+)")


def program() -> str:
    """Return the source of the program that answers on a node."""
    root = paths.collections_root() / "ansible_collections/ohmykube/cluster"
    text = "\n".join((root / file).read_text() for file in PROGRAM)
    return _FUTURE + _JOINTS.sub("", text)


def asks_dns(network: Network) -> bool:
    """Tell whether a node is asked if the cluster's DNS answers: without pod network none does."""
    return network.cni != NO_CNI


def has_overlay(network: Network) -> bool:
    """Tell whether each node has a card with an address of its own for pods of other nodes."""
    return (network.cni, network.flannel_backend) == ("flannel", "vxlan")


def dns_address(service_cidr: str) -> str:
    """Return the cluster DNS address: the tenth of the primary range of services (kubeadm)."""
    return str(parsed(service_cidr)[0][10])


def argv(network: Network, *, slowdown: int = 1, differences: bool = True) -> list[str]:
    """Return the command that reads the program from its standard input.

    Args:
        network: of the cluster: where its DNS is, and what it calls the API server.
        slowdown: how many times longer than usual the node takes.
        differences: whether it also compares itself with its record.
    """
    options: dict[str, Any] = {
        "seconds": REQUEST_SECONDS * slowdown,
        "differences": differences,
    }
    if asks_dns(network):
        name = f"kubernetes.default.svc.{network.dns_domain}"
        options["dns"] = [dns_address(network.service_cidr), name]
    if has_overlay(network):
        options["overlays"] = [OVERLAYS[family] for family in network.families]
    return ["python3", "-I", "-S", "-", json.dumps(options)]


def parse(node: str, text: str) -> NodeState:
    """Return the answer of a node.

    Raises:
        NodeError: it is none.
    """
    try:
        return _parsed(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NodeError(
            f"node {node} does not say what it is like",
            why=f"{type(error).__name__}: {error}",
            hint=f"ohmykube shell {node}",
            id="OMK-N-280",
        ) from error


def _parsed(found: dict[str, Any]) -> NodeState:
    nodes, admin = found["nodes"], str(found["admin"])
    server = _SERVER.search(admin)
    objects = {
        name: AppliedObject(applied_at=float(at), problem=str(problem))
        for name, (at, problem) in found["objects"].items()
    }
    return NodeState(
        record=str(found["record"]),
        begun=found["kubeadm"] != "",
        joined=found["kubeadm"] == "joined",
        differs=tuple(map(str, found["differs"])),
        nodes=None if nodes is None else tuple(map(_api_node, nodes)),
        api_problem=str(found["api"]),
        services=tuple(found["services"]),
        objects=objects,
        dns_answers=found["dns"] is True,
        pulling=found["pulling"] is True,
        reached=frozenset(map(str, found["reached"])),
        endpoint=server[1] if server else "",
        admin=Secret(admin),
    )


def _api_node(found: dict[str, Any]) -> ApiNode:
    return ApiNode(**{**found, "taints": frozenset(found["taints"])})
