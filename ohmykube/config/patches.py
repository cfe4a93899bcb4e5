"""Which fields of kubeadm's configuration are ours, and where to say it instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ohmykube.config.problems import Path, Problem
    from ohmykube.config.v1_kubeadm import Kubeadm
    from ohmykube.config.yaml_source import Source

_BASE: Path = ("spec", "kubeadm")
_DIRECTORY = ("patches", "directory")
_FOLLOWS_VERSION = "follows from spec.kubernetes.version"
_FOLLOWS_NODE = "is set for each node"
_JOINING = "is made for each join"

OWNED: Mapping[str, Mapping[str, str]] = {
    "clusterConfiguration": {
        "kubernetesVersion": "use spec.kubernetes.version",
        "clusterName": "use metadata.name",
        "controlPlaneEndpoint": "use spec.network.apiServerEndpoint",
        "networking.podSubnet": "use spec.network.podCIDR",
        "networking.serviceSubnet": "use spec.network.serviceCIDR",
        "networking.dnsDomain": "use spec.network.dnsDomain",
        "apiServer.certSANs": "use spec.network.certSANs",
        "imageRepository": "use spec.artifacts.mirror",
        "dns.imageRepository": "use spec.artifacts.mirror",
        "dns.imageTag": _FOLLOWS_VERSION,
        "etcd.local.imageRepository": "use spec.artifacts.mirror",
        "etcd.local.imageTag": _FOLLOWS_VERSION,
        "certificatesDir": "must stay where the nodes expect it",
    },
    "initConfiguration": {
        "bootstrapTokens": _JOINING,
        "certificateKey": _JOINING,
        "localAPIEndpoint": _FOLLOWS_NODE,
        "nodeRegistration.name": "use the names of spec.nodes",
        "nodeRegistration.taints": "use the taints of spec.nodes",
        "nodeRegistration.criSocket": "is containerd's",
    },
    "joinConfiguration": {
        "discovery": _JOINING,
        "caCertPath": _JOINING,
        "controlPlane": _FOLLOWS_NODE,
        "nodeRegistration.name": "use the names of spec.nodes",
        "nodeRegistration.taints": "use the taints of spec.nodes",
        "nodeRegistration.criSocket": "is containerd's",
    },
    "kubeletConfiguration": {
        "clusterDNS": "follows from spec.network.serviceCIDR",
        "clusterDomain": "use spec.network.dnsDomain",
        "cgroupDriver": "must be the same as containerd's",
        "containerRuntimeEndpoint": "is containerd's",
        "staticPodPath": "must stay where kubeadm puts its manifests",
    },
    "kubeProxyConfiguration": {
        "mode": "use spec.network.proxyMode",
        "clusterCIDR": "use spec.network.podCIDR",
        "clientConnection.kubeconfig": _FOLLOWS_NODE,
    },
}
"""Dotted field to what to do instead, for each section."""

_OWNED_ARGUMENTS = {
    "node-ip": "use nodeIP of the host",
    "hostname-override": "use the names of spec.nodes",
    "node-labels": "use the labels of spec.nodes",
    "register-with-taints": "use the taints of spec.nodes",
}
"""Arguments of ``nodeRegistration.kubeletExtraArgs``, a list of name and value."""


def problems(kubeadm: Kubeadm, source: Source) -> list[Problem]:
    """Return what may not be set."""
    found: list[Problem] = []
    for section, owned in OWNED.items():
        document = getattr(kubeadm, _attribute(section))
        for key in ("apiVersion", "kind"):
            if key in document:
                text = "must be left out; it follows from the name of the section"
                found.append(source.problem((*_BASE, section, key), text))
        for field, instead in owned.items():
            path = tuple(field.split("."))
            if _has(document, path):
                text = f"must not be set here: {instead}"
                found.append(source.problem((*_BASE, section, *path), text))
        for place, name in _arguments(document):
            text = f"must not set {name}: {_OWNED_ARGUMENTS[name]}"
            found.append(source.problem((*_BASE, section, *place), text))
        if kubeadm.patches and _has(document, _DIRECTORY):
            text = "does not go with spec.kubeadm.patches, which are in a directory of their own"
            found.append(source.problem((*_BASE, section, *_DIRECTORY), text))
    return found


def _attribute(section: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in section)


def _has(document: Any, path: tuple[str, ...]) -> bool:
    for part in path:
        if not isinstance(document, dict) or part not in document:
            return False
        document = document[part]
    return True


def _arguments(document: Any) -> Iterator[tuple[Path, str]]:
    path = ("nodeRegistration", "kubeletExtraArgs")
    if not _has(document, path):
        return
    arguments = document[path[0]][path[1]]
    for index, argument in enumerate(arguments if isinstance(arguments, list) else ()):
        name = argument.get("name") if isinstance(argument, dict) else None
        if isinstance(name, str) and name in _OWNED_ARGUMENTS:
            yield (*path, index, "name"), name
