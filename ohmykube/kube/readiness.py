"""Questions to a running cluster, asked with ``kubectl`` and a DNS query on a control plane.

A ``Remote`` runs an argv (with standard input) on the control plane and returns its output; steps
make it from ssh, tests from a table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Protocol

from ohmykube.errors import OhmykubeError

if TYPE_CHECKING:
    from collections.abc import Sequence

ADMIN = "/etc/kubernetes/admin.conf"
CACHE = "/run/ohmykube-kubectl"
"""On the node, instead of root's home; a reset of the node removes it."""
REQUEST_SECONDS = 5
PRESSURES = frozenset(("DiskPressure", "MemoryPressure", "PIDPressure"))


class Remote(Protocol):
    """Runs a command on a control plane."""

    def __call__(self, argv: Sequence[str], stdin: str = "") -> str:
        """Return its standard output; raises OhmykubeError when it fails."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCondition:
    """A Node object, as far as we look at it."""

    name: str
    ready: bool
    reason: str
    """Why it is not ready, in Kubernetes' own words; empty when it is."""
    pressure: str = ""
    """What it runs short of, so that it takes no pods: ``DiskPressure: …``; empty when nothing."""
    version: str
    """Kubelet version, such as ``v1.36.3``."""


def kubectl(slowdown: int | None) -> list[str]:
    """Return the start of a command line; with None as ``slowdown`` no request has a limit."""
    base = ["kubectl", "--kubeconfig", ADMIN, "--cache-dir", CACHE]
    return base if slowdown is None else [*base, f"--request-timeout={REQUEST_SECONDS * slowdown}s"]


def nodes(remote: Remote, *, slowdown: int = 1) -> tuple[NodeCondition, ...]:
    """Return all Node objects, sorted by name; OhmykubeError when the API does not answer."""
    text = remote([*kubectl(slowdown), "get", "nodes", "-ojson"])
    found = []
    for item in json.loads(text)["items"]:
        conditions = item["status"].get("conditions", [])
        ready: dict[str, str] = next((c for c in conditions if c["type"] == "Ready"), {})
        is_ready = ready.get("status") == "True"
        short = [c for c in conditions if c["type"] in PRESSURES and c["status"] == "True"]
        found.append(
            NodeCondition(
                name=item["metadata"]["name"],
                ready=is_ready,
                reason="" if is_ready else str(ready.get("message", "no status yet")),
                pressure="; ".join(f"{c['type']}: {c.get('message', '')}" for c in short),
                version=item["status"].get("nodeInfo", {}).get("kubeletVersion", ""),
            )
        )
    return tuple(sorted(found, key=lambda node: node.name))


def dns_address(service_cidr: str) -> str:
    """Return the cluster DNS address: the tenth of the service range (kubeadm's rule)."""
    return str(ip_network(service_cidr)[10])


# Runs on the node with its own python3: one DNS question for the API server's service name.
_QUERY = """
import socket, struct, sys
server, name = sys.argv[1], sys.argv[2]
question = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\\0"
packet = struct.pack(">6H", 4711, 0x100, 1, 0, 0, 0) + question + struct.pack(">2H", 1, 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(1)
    client.sendto(packet, (server, 53))
    answer = client.recv(4096)
ident, flags, _, answers = struct.unpack(">4H", answer[:8])
sys.exit(0 if ident == 4711 and flags & 15 == 0 and answers > 0 else 1)
"""


def dns_answers(remote: Remote, service_cidr: str, domain: str) -> bool:
    """Tell whether the cluster's DNS resolves the API server's service name."""
    name = f"kubernetes.default.svc.{domain}"
    try:
        remote(["python3", "-", dns_address(service_cidr), name], _QUERY)
    except OhmykubeError:
        return False
    return True
