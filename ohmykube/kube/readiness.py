"""Whether a cluster is ready: its nodes, and its DNS."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError

if TYPE_CHECKING:
    from ohmykube.kube.api import ClusterApi

PRESSURES = frozenset(("DiskPressure", "MemoryPressure", "PIDPressure"))


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


def nodes(api: ClusterApi) -> tuple[NodeCondition, ...]:
    """Return all Node objects, sorted by name; OhmykubeError when the API does not answer."""
    found = []
    for item in api.get_all("nodes"):
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


def dns_answers(api: ClusterApi, service_cidr: str, domain: str) -> bool:
    """Tell whether the cluster's DNS resolves the API server's service name on a control plane."""
    name = f"kubernetes.default.svc.{domain}"
    try:
        api.run(["python3", "-", dns_address(service_cidr), name], _QUERY)
    except OhmykubeError:
        return False
    return True
