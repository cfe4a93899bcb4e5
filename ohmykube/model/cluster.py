"""The desired cluster, parsed and checked; made by ``config`` only."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ohmykube.model import networks
from ohmykube.model.exposure import FixedPort
from ohmykube.model.proxy import Proxy
from ohmykube.model.registry import Registry

Document = Mapping[str, Any]
"""A free-form YAML mapping that is handed on to another program (a kubeadm patch)."""


class Role(enum.StrEnum):
    """What a node is for."""

    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


class TemplateUse(enum.StrEnum):
    """Whether machines are cloned from templates."""

    AUTO = "auto"
    """Where there is one."""
    BUILD = "build"
    """From templates alone, built when they are not there."""
    NEVER = "never"


class Egress(enum.StrEnum):
    """What nodes and pods reach outside of their cluster, where no list says it."""

    FULL = "full"
    """All that the host reaches."""
    NONE = "none"
    """Nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """A Kubernetes taint."""

    key: str
    effect: str
    value: str = ""

    def __str__(self) -> str:
        return (
            f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"
        )


CONTROL_PLANE_TAINT = Taint(key="node-role.kubernetes.io/control-plane", effect="NoSchedule")
"""What kubeadm gives a control plane whose taints are not described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """An existing machine for the ssh provider."""

    address: str
    """Of a host, or what the user's ssh configuration calls it. None below: as that says."""
    port: int | None = None
    user: str | None = None
    identity_file: Path | None = None
    jump: str | None = None
    """``[user@]host[:port]`` of a jump host."""
    become: bool = False
    """Use sudo (without a password) for everything."""
    containerd_takeover: bool = False
    """Replace a containerd that is there already."""
    host_key: str | None = None
    """Expected public host key, ``ssh-ed25519 AAAA…``; None uses the user's known_hosts."""
    node_ip: str | None = None
    """Address that the node uses inside the cluster, of two families with a comma between them;
    None means ``address``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFile:
    """A text file of the user's, which a node gets before kubeadm runs."""

    path: str
    """Absolute; the name alone of a patch for kubeadm."""
    sha256: str
    mode: str = "0600"
    """Four octal digits."""
    content: str | None = field(default=None, compare=False, repr=False)
    """None where only a record tells of it: what may be secret stands in no record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A directory, file or socket of this host that a node sees."""

    host: Path
    """Absolute, and without links: one that is there later is not followed."""
    node: str
    """Where the node sees it, absolute."""
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A desired node."""

    name: str
    role: Role
    cpus: float | None = None
    """CPU limit in cores; None for all of the host's."""
    memory_mib: int | None = None
    """Memory limit in MiB; None for no limit."""
    disk_gib: int | None = None
    """Disk in GiB, for providers that make disks."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] | None = None
    """None keeps kubeadm's default for the role; an empty tuple means none."""
    files: tuple[NodeFile, ...] = ()
    mounts: tuple[Mount, ...] = ()
    """In the order in which they are made: by their paths on the node."""
    host: Host | None = None
    """The machine, when it exists already (ssh provider)."""

    @property
    def effective_taints(self) -> tuple[Taint, ...]:
        """The taints that the node is to have: kubeadm's own where none are described."""
        if self.taints is not None:
            return self.taints
        return (CONTROL_PLANE_TAINT,) if self.role is Role.CONTROL_PLANE else ()


NO_CNI = "none"
"""Instead of a pod network's name: the cluster gets none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Addresses and the pod network."""

    pod_cidr: str = "10.244.0.0/16"
    """One network, or one of each IP family, with a comma between them."""
    service_cidr: str = "10.96.0.0/16"
    """Of the same families, in the same order."""
    machine_cidr: str = networks.AUTO
    """Of the machines, for providers that make their network; of the same families likewise."""
    mtu: int | None = None
    """Bytes of the largest packet between nodes; None for what their network cards say."""
    dns_domain: str = "cluster.local"
    cni: str = "flannel"
    """Name of the add-on that is the pod network, or ``NO_CNI``."""
    flannel_backend: str = "vxlan"
    """``vxlan`` or ``host-gw``."""
    proxy_mode: str = "iptables"
    """``iptables`` or ``nftables``."""
    api_server_endpoint: str | None = None
    """``host:port`` that all nodes use for the API server; None: one control plane's."""
    cert_sans: tuple[str, ...] = ()
    """Further addresses and names in the API server's certificate."""
    egress: Egress | tuple[str, ...] | None = None
    """The tuple is of networks and DNS names. None: full, but none in an offline run."""
    host_access: tuple[int, ...] = ()
    """Ports of the host's own loopback that the cluster reaches."""

    @property
    def families(self) -> tuple[int, ...]:
        """IP families of nodes, pods and services, the primary one first."""
        return networks.families(self.pod_cidr)


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeadmPatches:
    """The user's own fields, merged over ours."""

    init_configuration: Document = field(default_factory=dict)
    join_configuration: Document = field(default_factory=dict)
    cluster_configuration: Document = field(default_factory=dict)
    kubelet_configuration: Document = field(default_factory=dict)
    kube_proxy_configuration: Document = field(default_factory=dict)
    patches: tuple[NodeFile, ...] = ()
    """Laid over what kubeadm writes, in the order of their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where artifacts may come from, in this order; the cache is always asked first."""

    order: tuple[str, ...] = ("mirror", "upstream", "build")
    mirror: str | None = None
    """Base URL (http, https) or absolute directory of a mirror."""
    registries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Registry such as ``docker.io`` to URLs of mirrors, which source ``upstream`` asks first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedAddon:
    """An add-on that a cluster is to have."""

    name: str
    version: str
    namespace: str = ""
    """Where its objects are; empty for the add-on's own."""
    values: Document = field(default_factory=dict)
    """The add-on's own settings, checked by its schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The whole desired cluster."""

    name: str
    kubernetes_version: str
    """Without a leading v, such as ``1.36.3``."""
    provider: str
    """A provider's name or ``auto``."""
    nodes: tuple[Node, ...]
    network: Network = field(default_factory=Network)
    kubeadm: KubeadmPatches = field(default_factory=KubeadmPatches)
    sources: Sources = field(default_factory=Sources)
    trust: tuple[str, ...] = ()
    """Certificates of authorities, one in PEM each."""
    registries: tuple[Registry, ...] = ()
    """How nodes ask registries of images."""
    proxy: Proxy | None = None
    template: TemplateUse = TemplateUse.AUTO
    addons: tuple[WantedAddon, ...] = ()
    """In the order of the file."""
    ports: tuple[FixedPort, ...] = ()
    """Ports of this host that lead to the nodes."""
    provider_options: Document = field(default_factory=dict)
    """Options of the chosen provider, checked by that provider."""

    @property
    def control_planes(self) -> tuple[Node, ...]:
        """Control-plane nodes, the first of which runs ``kubeadm init``."""
        return tuple(n for n in self.nodes if n.role is Role.CONTROL_PLANE)

    @property
    def workers(self) -> tuple[Node, ...]:
        """Worker nodes."""
        return tuple(n for n in self.nodes if n.role is Role.WORKER)
