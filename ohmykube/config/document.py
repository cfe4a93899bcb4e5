"""From a ``Cluster`` back to a document, whole: no default is left to a later release."""

from __future__ import annotations

import copy
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ohmykube.model.cluster import Egress, Role
from ohmykube.model.proxy import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.model.cluster import (
        Cluster,
        Document,
        Host,
        KubeadmPatches,
        Network,
        Node,
        WantedAddon,
    )
    from ohmykube.model.proxy import Proxy
    from ohmykube.model.registry import LoginPlace, Registry

FIELD = {Role.CONTROL_PLANE: "controlPlane", Role.WORKER: "workers"}
"""The field of ``spec.nodes`` that has the nodes of a role."""

_PREFIX = {Role.CONTROL_PLANE: "cp", Role.WORKER: "w"}


def to_document(cluster: Cluster) -> dict[str, Any]:
    """Return a ``cluster.yaml`` document that loads as an equal cluster; JSON types only."""
    provider: dict[str, Any] = {"name": cluster.provider}
    if cluster.provider_options:
        provider["options"] = _copy(cluster.provider_options)
    artifacts: dict[str, Any] = {"sources": list(cluster.sources.order)}
    if cluster.sources.mirror is not None:
        artifacts["mirror"] = cluster.sources.mirror
    if cluster.sources.registries:
        artifacts["registries"] = {n: list(urls) for n, urls in cluster.sources.registries.items()}
    spec: dict[str, Any] = {
        "kubernetes": {"version": cluster.kubernetes_version},
        "provider": provider,
        "nodes": {
            FIELD[Role.CONTROL_PLANE]: _groups(cluster.control_planes, Role.CONTROL_PLANE),
            FIELD[Role.WORKER]: _groups(cluster.workers, Role.WORKER),
        },
        "network": _network(cluster.network),
        "artifacts": artifacts,
        "template": cluster.template.value,
    }
    optional = {
        "kubeadm": _kubeadm(cluster.kubeadm),
        "trust": list(cluster.trust),
        "registries": {one.name: _registry(one) for one in cluster.registries},
        "proxy": _proxy(cluster.proxy) if cluster.proxy is not None else None,
        "mounts": _mounts(cluster),
        "addons": [addon_document(addon) for addon in cluster.addons],
        "ports": [str(port) for port in cluster.ports],
    }
    spec |= {name: value for name, value in optional.items() if value}
    return {
        "apiVersion": "ohmykube.dev/v1",
        "kind": "Cluster",
        "metadata": {"name": cluster.name},
        "spec": spec,
    }


def node_document(node: Node) -> dict[str, Any]:
    """Return what a group says of one of its nodes; ``hosts`` is this node's own entry."""
    group = _group([node])
    group.pop("names", None)
    if node.host is not None:
        group["hosts"] = _host(node.name, node.host)
    return group


def addon_document(addon: WantedAddon) -> dict[str, Any]:
    """Return what a document says of one add-on."""
    result: dict[str, Any] = {"name": addon.name, "version": addon.version}
    if addon.namespace:
        result["namespace"] = addon.namespace
    if addon.values:
        result["values"] = _copy(addon.values)
    return result


def _mounts(cluster: Cluster) -> list[dict[str, Any]]:
    """Each mount once, with the nodes that have it."""
    having: dict[tuple[Any, ...], tuple[dict[str, Any], list[str]]] = {}
    for node in cluster.nodes:
        for one in node.mounts:
            entry = {"host": str(one.host), "node": one.node, "readOnly": one.read_only}
            having.setdefault(tuple(entry.values()), (entry, []))[1].append(node.name)
    words = {"workers": cluster.workers, "controlPlane": cluster.control_planes}
    words["all"] = cluster.nodes
    named = {tuple(node.name for node in nodes): word for word, nodes in words.items()}
    return [{**entry, "nodes": named.get(tuple(names), names)} for entry, names in having.values()]


def _groups(nodes: Sequence[Node], role: Role) -> dict[str, Any] | list[dict[str, Any]]:
    """One group for each run of nodes that differ in nothing but name and host."""
    if not nodes:
        return {"count": 0}
    groups = []
    for _key, members in groupby(nodes, key=_kind):
        groups.append(_group(list(members)))
    if len(groups) > 1:
        return groups
    expected = [f"{_PREFIX[role]}{number}" for number in range(1, len(nodes) + 1)]
    if groups[0].get("names") == expected:
        groups[0] = {"count": len(nodes)} | {k: v for k, v in groups[0].items() if k != "names"}
    return groups[0]


def _kind(node: Node) -> tuple[Any, ...]:
    sizes = (node.cpus, node.memory_mib, node.disk_gib)
    return (*sizes, dict(node.labels), node.taints, node.files, node.host is None)


def _group(nodes: Sequence[Node]) -> dict[str, Any]:
    first = nodes[0]
    group: dict[str, Any] = {}
    if first.host is None:
        group["names"] = [node.name for node in nodes]
        cpus = first.cpus
        group["cpus"] = int(cpus) if cpus is not None and cpus == int(cpus) else cpus
        group["memory"] = None if first.memory_mib is None else f"{first.memory_mib}MiB"
        group["disk"] = None if first.disk_gib is None else f"{first.disk_gib}GiB"
    else:
        group["hosts"] = [_host(node.name, node.host) for node in nodes if node.host]
    if first.labels:
        group["labels"] = dict(first.labels)
    if first.taints is not None:
        group["taints"] = [str(taint) for taint in first.taints]
    if first.files:
        group["files"] = [
            {"path": one.path, "mode": one.mode, "sha256": one.sha256} for one in first.files
        ]
    return group


def _host(name: str, host: Host) -> dict[str, Any]:
    entry = {
        "address": host.address,
        "name": name,
        "port": host.port,
        "user": host.user,
        "identityFile": str(host.identity_file) if host.identity_file else None,
        "jump": host.jump,
        "become": host.become,
        "containerdTakeover": host.containerd_takeover or None,
        "hostKey": host.host_key,
        "nodeIP": host.node_ip,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _registry(registry: Registry) -> dict[str, Any]:
    """What is said of a registry; of its login the place alone."""
    result: dict[str, Any] = {"fallback": registry.fallback, "plainHTTP": registry.plain_http}
    if registry.mirrors:
        result["mirrors"] = list(registry.mirrors)
    if registry.ca:
        result["ca"] = "".join(registry.ca)
    if registry.auth is not None:
        result["auth"] = _login(registry.auth)
    return result


def _proxy(proxy: Proxy) -> str | dict[str, Any]:
    """What is said of a proxy; of its login the place alone."""
    if proxy.of_host:
        return HOST
    result = {
        "http": proxy.http,
        "https": proxy.https,
        "noProxy": list(proxy.no_proxy),
        "auth": _login(proxy.auth) if proxy.auth is not None else {},
    }
    return {key: one for key, one in result.items() if one}


def _login(place: LoginPlace) -> dict[str, str]:
    auth = {
        "dockerConfig": str(place.docker_config) if place.docker_config else "",
        "username": place.username,
        "usernameEnv": place.username_env,
        "passwordEnv": place.password_env,
    }
    return {key: text for key, text in auth.items() if text}


def _network(network: Network) -> dict[str, Any]:
    result: dict[str, Any] = {
        "podCIDR": network.pod_cidr,
        "serviceCIDR": network.service_cidr,
        "machineCIDR": network.machine_cidr,
        "dnsDomain": network.dns_domain,
        "cni": network.cni,
        "flannel": {"backend": network.flannel_backend},
        "proxyMode": network.proxy_mode,
        "certSANs": list(network.cert_sans),
    }
    if network.mtu is not None:
        result["mtu"] = network.mtu
    if network.api_server_endpoint is not None:
        result["apiServerEndpoint"] = network.api_server_endpoint
    if network.egress is not None:
        egress = network.egress
        result["egress"] = egress.value if isinstance(egress, Egress) else list(egress)
    if network.host_access:
        result["hostAccess"] = list(network.host_access)
    return result


def _kubeadm(patches: KubeadmPatches) -> dict[str, Any]:
    sections = {
        "initConfiguration": patches.init_configuration,
        "joinConfiguration": patches.join_configuration,
        "clusterConfiguration": patches.cluster_configuration,
        "kubeletConfiguration": patches.kubelet_configuration,
        "kubeProxyConfiguration": patches.kube_proxy_configuration,
    }
    result: dict[str, Any] = {key: _copy(value) for key, value in sections.items() if value}
    if patches.patches:
        result["patches"] = [{"name": one.path, "sha256": one.sha256} for one in patches.patches]
    return result


def _copy(document: Document) -> dict[str, Any]:
    return copy.deepcopy(dict(document))
