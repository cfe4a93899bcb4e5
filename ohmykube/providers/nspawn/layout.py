"""Names of files, network namespaces and cgroups; nothing is created here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FIRST_HOST = 11
LAST_HOST = 254
BRIDGE = "br0"
MTU = 65520
"""Of all links of a cluster that was given no other: packets that go out are cut where they leave
the host, and segments of 1500 bytes would cost a tenth of a processor for what is one copy now."""

UPLINK = "out0"
"""The link of a cluster's namespace that leads out."""
UPLINK_NETWORK = "10.88.1.0/24"
UPLINK_ADDRESS = "10.88.1.100"
HOST_ADDRESS = "10.88.1.2"
"""Stands for 127.0.0.1 of the host."""
RESOLVER_ADDRESS = "10.88.1.3"
"""Stands for the host's resolver. These three are where slirp4netns has them; pasta is told."""
UPLINK_NETWORK6 = "fd00::/64"
UPLINK_ADDRESS6 = "fd00::100"
HOST_ADDRESS6 = "fd00::2"
"""Stands for ::1 of the host. slirp4netns knows no other network of IPv6."""


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """The directory of one node."""

    root_dir: Path
    """``<data>/nspawn/<cluster>/nodes/<node>``."""

    @property
    def marker(self) -> Path:
        """Who owns it and what it is; written first, removed last."""
        return self.root_dir / "machine.json"

    @property
    def upper(self) -> Path:
        """What the node changed of its base image."""
        return self.root_dir / "upper"

    @property
    def lower(self) -> Path:
        """What its template had changed of the base image; only a clone has it."""
        return self.root_dir / "lower"

    @property
    def work(self) -> Path:
        """Overlayfs' own."""
        return self.root_dir / "work"

    @property
    def root(self) -> Path:
        """Mount point of the node's root."""
        return self.root_dir / "root"

    @property
    def binds(self) -> tuple[tuple[Path, str], ...]:
        """Directories that must not lie on overlayfs, and where the node sees them."""
        return tuple(
            (self.root_dir / name, f"/var/lib/{name}") for name in ("containerd", "kubelet", "etcd")
        )

    @property
    def size(self) -> Path:
        """Files by which the node sees its own size instead of the host's."""
        return self.root_dir / "size"

    @property
    def console(self) -> Path:
        """What the node wrote on its console since it was last started."""
        return self.root_dir / "console.log"

    @property
    def host_key(self) -> Path:
        """The node's private ssh host key."""
        return self.root_dir / "ssh_host_ed25519_key"


@dataclass(frozen=True, slots=True)
class ClusterFiles:
    """The directory of one cluster."""

    root_dir: Path
    """``<data>/nspawn/<cluster>``."""

    @property
    def marker(self) -> Path:
        """The cluster's identity and its forwarded ports."""
        return self.root_dir / "cluster.json"

    @property
    def nodes(self) -> Path:
        """Parent of the node directories."""
        return self.root_dir / "nodes"

    @property
    def identity(self) -> Path:
        """Private key with which all nodes are reached."""
        return self.root_dir / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Public host keys of all nodes."""
        return self.root_dir / "known_hosts"

    @property
    def outside(self) -> Path:
        """What of the outside is open, and how its helpers were started."""
        return self.root_dir / "outside.json"

    @property
    def ports(self) -> Path:
        """What the process that holds ports of the host is told; a secret is in it."""
        return self.root_dir / "ports.json"

    @property
    def ports_report(self) -> Path:
        """What it tells."""
        return self.root_dir / "ports-report.json"

    def helper_log(self, helper: str) -> Path:
        """Output of a helper."""
        return self.root_dir / f"{helper}.log"

    def node(self, name: str) -> NodeFiles:
        """Return the files of a node."""
        return NodeFiles(self.nodes / name)


def cluster_netns(cluster: str) -> str:
    """Name of the namespace that holds the cluster's bridge."""
    return f"omk-{cluster}"


def node_netns(cluster: str, node: str) -> str:
    """Name of a node's namespace: a dot occurs in no cluster name, so names cannot clash."""
    return f"omk-{cluster}.{node}"


def machine_name(identity: str, node: str) -> str:
    """Name under which systemd-nspawn keeps its run-time files; unique on the host."""
    return "omk-" + hashlib.sha256(f"{identity}/{node}".encode()).hexdigest()[:16]


def cluster_group(cluster: str) -> tuple[str, ...]:
    """Cgroup of a cluster, below the top of each hierarchy."""
    return ("omk", cluster)


def node_group(cluster: str, node: str) -> tuple[str, ...]:
    """Cgroup of a node."""
    return ("omk", cluster, node)


def helper_group(cluster: str, helper: str) -> tuple[str, ...]:
    """Cgroup of a program that works for all of a cluster; an underscore occurs in no node name."""
    return ("omk", cluster, f"_{helper}")
