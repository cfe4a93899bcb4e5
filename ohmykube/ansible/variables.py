"""From the model to Ansible variables: pure functions, plain data out.

The names are the public interface of the roles. Nothing here is text for a template: ``inventory``
serialises every value, and tags every string so that Ansible never evaluates it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ohmykube.ansible.registry_variables import registry_vars
from ohmykube.errors import ProviderError
from ohmykube.kit.secret import Secret
from ohmykube.model.addon import CNI
from ohmykube.model.cluster import Cluster, Node, Role

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.model.addon import AppliedAddon
    from ohmykube.model.artifact import ArtifactLock, LockedArtifact
    from ohmykube.model.machine import Machine

Vars = dict[str, object]
"""Variable name to plain data: str, int, float, bool, None, Secret, dict and list."""

CONTROL_PLANE_GROUP = "kube_control_plane"
WORKER_GROUP = "kube_node"

CONTENTS = "kubeadm_contents"
"""The variable with the texts of files, by their sums."""
_PULL_SECONDS = 1800
"""What the role cache waits for images, on nodes of common speed."""
_STATS_SECONDS = 10
"""After how long containerd asks again what containers use: where nodes are slow, times that."""

_SHUTDOWN_SECONDS = 30
"""What machines of ours give to what does not end by itself: as much as pods do by default."""

_LOCAL_SANS = ("127.0.0.1", "localhost")

# Nodes that are system containers share the host's kernel: its swap and its cgroup version are not
# theirs to change, and kubeadm's look at the kernel configuration says nothing about them.
_CONTAINER_PREFLIGHT = ["SystemVerification", "Swap"]
# So is its disk: the default limits are percentages of it. They would keep pods from every node
# while tens of gigabytes are free, and collect images that nothing can bring back.
_CONTAINER_KUBELET: Mapping[str, object] = {
    "failSwapOn": False,
    "failCgroupV1": False,
    "evictionHard": {
        "memory.available": "100Mi",
        "nodefs.available": "1Gi",
        "nodefs.inodesFree": "1%",
        "imagefs.available": "1Gi",
        "imagefs.inodesFree": "1%",
    },
    "imageGCHighThresholdPercent": 100,
    "imageGCLowThresholdPercent": 99,
}
# The conntrack sysctls belong to the initial network namespace.
_CONTAINER_PROXY: Mapping[str, object] = {"conntrack": {"maxPerCore": 0, "min": 0}}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheAccess:
    """How nodes reach the host's artifact server."""

    endpoint: str
    """URL as seen from a node, such as ``http://127.0.0.1:5055``."""
    token: Secret
    """Bearer token."""
    repacked: Mapping[str, str] = field(default_factory=dict)
    """Digest of an image to that of its repacked form, which the server has too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTraits:
    """What is special about the machines of a provider, for the roles to act on."""

    system_containers: bool
    """They share the host's kernel."""
    made: bool = False
    """The provider has made them; otherwise they are hosts that were there before."""
    slowdown: int = 1
    """How many times longer than usual everything takes on them."""


def group_vars(
    cluster: Cluster,
    lock: ArtifactLock | None,
    cache: CacheAccess | None,
    *,
    node_traits: NodeTraits,
    cert_sans: Sequence[str] = (),
) -> Vars:
    """Return the variables that all nodes of a cluster share.

    Args:
        cluster: what is wanted.
        lock: the resolved artifacts; None leaves versions and images to the roles' defaults.
        cache: the host's artifact server; None makes the nodes fetch from upstream.
        node_traits: what is special about the machines.
        cert_sans: names and addresses by which the API server is reached from outside.

    Raises:
        ProviderError: a machine has no address.
    """
    network = cluster.network
    result: Vars = {
        "cluster_name": cluster.name,
        "cluster_cni": network.cni,
        "node_manage_kernel": not node_traits.system_containers,
        "node_swap": "keep" if node_traits.system_containers else "off",
        "kubeadm_kubernetes_version": cluster.kubernetes_version,
        "kubeadm_control_plane_group": CONTROL_PLANE_GROUP,
        "kubeadm_worker_group": WORKER_GROUP,
        "kubeadm_control_plane_endpoint": network.api_server_endpoint or "",
        "kubeadm_pod_cidr": network.pod_cidr,
        "kubeadm_service_cidr": network.service_cidr,
        "kubeadm_dns_domain": network.dns_domain,
        "kubeadm_proxy_mode": network.proxy_mode,
        "kubeadm_cert_sans": _unique([*_LOCAL_SANS, *network.cert_sans, *cert_sans]),
    }
    result |= registry_vars(cluster.registries, cache.endpoint if cache else "")
    if cluster.trust:
        result["node_trusted_certificates"] = list(cluster.trust)
    result |= _kubeadm_patches(cluster, system_containers=node_traits.system_containers)
    if cluster.kubeadm.patches:
        result["kubeadm_patches"] = [
            {"name": one.path, "sha256": one.sha256} for one in cluster.kubeadm.patches
        ]
    if contents := _contents(cluster):
        result[CONTENTS] = contents
    if node_traits.made and not node_traits.system_containers:
        result["containerd_shutdown_timeout"] = _SHUTDOWN_SECONDS
    if node_traits.slowdown > 1:
        result |= {
            "kubeadm_slowdown": node_traits.slowdown,
            "cache_pull_timeout": _PULL_SECONDS * node_traits.slowdown,
            "containerd_stats_period": _STATS_SECONDS * node_traits.slowdown,
        }
    if lock is not None:
        result |= lock.variables
    if cache is not None:
        result |= {"cache_endpoint": cache.endpoint, "cache_token": cache.token}
    return result


def addon_vars(addons: Sequence[AppliedAddon], removed: Sequence[AppliedAddon] = ()) -> Vars:
    """Return what the playbook ``cluster_up`` and the roles of add-ons are told.

    The pod network is installed before the other nodes join, so it is told apart from the others.

    Args:
        addons: those that the cluster is to have, in the order in which they are installed.
        removed: those that it had before and is to have no more.
    """
    networks = [addon for addon in addons if CNI in addon.provides]
    others = [addon for addon in addons if CNI not in addon.provides]
    result: Vars = {"cluster_network_role": networks[0].role if networks else ""}
    roles = [addon.role for addon in (*removed, *others)]
    if roles:
        result["cluster_addon_roles"] = roles
    for addon in removed:
        result |= addon.removal
    for addon in addons:
        result |= addon.variables
    return result


def host_vars(
    node: Node,
    machine: Machine,
    ssh_config: Path | None,
    lock: ArtifactLock | None,
    cache: CacheAccess | None = None,
    *,
    control_planes: Sequence[Machine] = (),
    before: Node | None = None,
) -> Vars:
    """Return the variables of one node. They are the same whatever workers there are beside it.

    Args:
        node: the desired node.
        machine: its machine, with an address.
        ssh_config: the OpenSSH client configuration in which the node has its ``Host`` entry; None
            leaves the connection to the caller (tests use ``connection: local``).
        lock: gives the packages and images that a node of its role and architecture needs, the
            biggest images first.
        cache: knows which of them it has repacked.
        control_planes: machines that it knows by name, as it does itself; each with an address.
        before: the node as it was described before; what it had more of is taken away.

    Raises:
        ProviderError: the machine has no address.
    """
    result: Vars = {"ansible_host": node.name}
    if ssh_config is not None:
        result["ansible_ssh_common_args"] = shlex.join(["-F", str(ssh_config)])
        # Ansible's own ControlPath knows the node's name only: two clusters would share it.
        result["ansible_ssh_args"] = ""
    if machine.ssh is not None:
        result["ansible_user"] = machine.ssh.user
        if machine.ssh.become:
            result["ansible_become"] = True
    result |= {
        "ansible_python_interpreter": "/usr/bin/python3",
        "node_hosts": {one.node: _address(one) for one in (*control_planes, machine)},
        "kubeadm_node_name": node.name,
        "kubeadm_node_ip": ",".join((_address(machine), *machine.addresses[1:])),
        "kubeadm_node_labels": dict(node.labels),
    }
    if node.host is not None and node.host.containerd_takeover:
        result["containerd_takeover"] = True
    if node.files:
        result["kubeadm_files"] = [
            {"path": one.path, "mode": one.mode, "sha256": one.sha256} for one in node.files
        ]
    if node.taints is not None:
        result["kubeadm_node_taints"] = [str(taint) for taint in node.taints]
    if before is not None:
        result |= _lost(before, node)
    if lock is not None:
        repacked = cache.repacked if cache is not None else {}
        arch = lock.arch_of(machine.arch)
        result["containerd_arch"] = arch
        result["cache_images"] = [
            _image(image, repacked.get(image.digest, ""))
            for image in lock.images(node.role.value, arch)
        ]
        if cache is not None:
            result |= _packages(lock, arch, cache)
    return result


def _lost(before: Node, node: Node) -> Vars:
    """Return what a node has to lose, and kubeadm's own taints where others were described."""
    result: Vars = {}
    labels = sorted(set(before.labels) - set(node.labels))
    if labels:
        result["kubeadm_node_absent_labels"] = labels
    had, wanted = before.effective_taints, node.effective_taints
    kept = {(taint.key, taint.effect) for taint in wanted}
    taints = [f"{t.key}:{t.effect}" for t in had if (t.key, t.effect) not in kept]
    if taints:
        result["kubeadm_node_absent_taints"] = taints
    if had != wanted:
        result["kubeadm_node_taints"] = [str(taint) for taint in wanted]
    return result


def _image(image: LockedArtifact, repacked: str) -> dict[str, str]:
    found = {"ref": image.name, "digest": image.digest}
    return {**found, "repacked": repacked} if repacked else found


def group_of(role: Role) -> str:
    """Return the inventory group of a node of ``role``."""
    return CONTROL_PLANE_GROUP if role is Role.CONTROL_PLANE else WORKER_GROUP


def merged(base: Mapping[str, object], over: Mapping[str, object]) -> Vars:
    """Return ``over`` laid over ``base``: mappings merge, all else is replaced."""
    result: Vars = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def _kubeadm_patches(cluster: Cluster, *, system_containers: bool) -> Vars:
    patches = cluster.kubeadm
    kubelet = merged(_CONTAINER_KUBELET if system_containers else {}, patches.kubelet_configuration)
    proxy = merged(_CONTAINER_PROXY if system_containers else {}, patches.kube_proxy_configuration)
    return {
        "kubeadm_init_configuration": dict(patches.init_configuration),
        "kubeadm_join_configuration": dict(patches.join_configuration),
        "kubeadm_cluster_configuration": dict(patches.cluster_configuration),
        "kubeadm_kubelet_configuration": kubelet,
        "kubeadm_kube_proxy_configuration": proxy,
        "kubeadm_ignore_preflight_errors": list(_CONTAINER_PREFLIGHT) if system_containers else [],
    }


def _contents(cluster: Cluster) -> dict[str, Secret]:
    """Return the text of all files for nodes by its sum: any of them may be a key."""
    every = [one for node in cluster.nodes for one in node.files] + [*cluster.kubeadm.patches]
    return {one.sha256: Secret(one.content) for one in every if one.content is not None}


def _packages(lock: ArtifactLock, arch: str, cache: CacheAccess) -> Vars:
    result: Vars = {}
    for package in lock.packages(arch):
        artifact = {
            "name": f"{package.name}-package",
            "url": f"{cache.endpoint}/pkg/{package.digest.replace(':', '/')}",
            "checksum": package.digest,
            "dest": "/",
            "unpack": True,
        }
        if package.content_digest:
            artifact["content_checksum"] = package.content_digest
        result[f"{package.name}_artifacts"] = [artifact]
    return result


def _address(machine: Machine) -> str:
    if not machine.address:
        raise ProviderError(
            f'node "{machine.node}" has no address yet',
            hint=f"ohmykube status {machine.cluster}",
            id="OMK-P-014",
        )
    return machine.address


def _unique(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))
