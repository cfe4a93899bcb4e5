"""What the fields of a cluster must be to each other."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import TYPE_CHECKING

from ohmykube.config import fields, patches, v1
from ohmykube.config.document import FIELD
from ohmykube.config.problems import Path, Problem, dotted
from ohmykube.model import names
from ohmykube.model.cluster import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ohmykube.config.nodes import PlacedNode
    from ohmykube.config.yaml_source import Source

_NODES: Path = ("spec", "nodes")
_NETWORK: Path = ("spec", "network")
_PROVIDER: Path = ("spec", "provider")

RESERVED = {"nspawn": ipaddress.IPv4Network("10.88.0.0/24")}
"""Networks in which a provider puts its nodes."""

KUBEADM_MINIMUM_CPUS = 2
KUBEADM_MINIMUM_MEMORY_MIB = 1700


class Checker:
    """Runs all checks over one document and collects."""

    def __init__(self, document: v1.Document, placed: Sequence[PlacedNode], source: Source) -> None:
        self.spec = document.spec
        self.placed = placed
        self.source = source
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def run(self, left_out: set[Path], known_providers: Sequence[str]) -> None:
        """Check everything that does not hang on a value that was left out."""
        nodes_known = not any(
            path[:2] == _NODES and not {"cpus", "memory", "disk", "labels"} & set(path)
            for path in left_out
        )
        if nodes_known:
            for check in (self._counts, self._names, self._hosts, self._taints):
                check()
            self._sizes()
        if not any(path[:2] == _NETWORK for path in left_out):
            self._networks(count_nodes=nodes_known)
        if not any(path[:2] == _PROVIDER for path in left_out):
            self._provider(known_providers, nodes_known=nodes_known)
        self._artifacts(left_out)
        self.problems += patches.problems(self.spec.kubeadm, self.source)

    def _add(self, path: Path, text: str) -> None:
        self.problems.append(self.source.problem(path, text))

    # -- nodes -----------------------------------------------------------------------------------

    def _counts(self) -> None:
        if len(self.placed) > fields.MOST_NODES:
            self._add(
                _NODES, f"must have at most {fields.MOST_NODES} nodes, got {len(self.placed)}"
            )
        planes = sum(p.node.role is Role.CONTROL_PLANE for p in self.placed)
        path = (*_NODES, FIELD[Role.CONTROL_PLANE])
        counted = (*path, "count")
        if planes == 0:
            place = (
                counted if counted in self.source.lines or counted in self.source.flags else path
            )
            self._add(place, "must have at least 1 control plane, got 0")
        elif planes % 2 == 0:
            self.warnings.append(
                f"{planes} control planes tolerate no more failures than {planes - 1}: "
                "etcd needs a majority"
            )

    def _names(self) -> None:
        seen: dict[str, PlacedNode] = {}
        for placed in self.placed:
            name = placed.node.name
            if name in seen:
                self._add(placed.path, f'has the node name "{name}", which is taken already')
            elif placed.node.host is None and not names.is_name(name):
                self._add(placed.path, f"makes the node name {name}, which is too long")
            seen.setdefault(name, placed)

    def _hosts(self) -> None:
        for group, path in self._groups():
            if group.hosts is not None and group.names is not None:
                self._add((*path, "names"), "does not go with hosts; give each host its name")
            counted = group.hosts if group.hosts is not None else group.names
            if counted is not None and group.count not in (None, len(counted)):
                other = "hosts" if group.hosts is not None else "names"
                text = f"must be {len(counted)}, as many as {other}, or left out, got {group.count}"
                self._add((*path, "count"), text)
            if group.names is not None and group.name is not None:
                self._add((*path, "name"), "does not go with names")
            if group.hosts is not None:
                for field in sorted({"cpus", "memory", "disk"} & group.model_fields_set):
                    self.warnings.append(
                        f"{dotted(path)}.{field} has no effect on machines that exist"
                    )
        self._unique(
            lambda p: (
                p.node.host and (p.node.host.address, p.node.host.port or 22, p.node.host.jump)
            ),
            "address",
        )
        self._unique(lambda p: p.node.host and p.node.host.node_ip, "nodeIP")

    def _unique(self, key: Callable[[PlacedNode], object], field: str) -> None:
        seen: dict[object, PlacedNode] = {}
        for placed in self.placed:
            value = key(placed)
            if value and value in seen:
                path = (*placed.path, field)
                self._add(path, f"is the same machine as node {seen[value].node.name}")
            seen.setdefault(value, placed)

    def _taints(self) -> None:
        for group, path in self._groups():
            pairs = Counter((t.key, t.effect) for t in group.taints or ())
            for (key, effect), times in pairs.items():
                if times > 1:
                    self._add((*path, "taints"), f"has {key} with {effect} {times} times")

    def _sizes(self) -> None:
        for placed in self.placed:
            node = placed.node
            small = (node.cpus or KUBEADM_MINIMUM_CPUS) < KUBEADM_MINIMUM_CPUS
            small |= (node.memory_mib or KUBEADM_MINIMUM_MEMORY_MIB) < KUBEADM_MINIMUM_MEMORY_MIB
            if node.role is Role.CONTROL_PLANE and small:
                self.warnings.append(
                    f"control plane {node.name} is smaller than the {KUBEADM_MINIMUM_CPUS} CPUs "
                    f"and {KUBEADM_MINIMUM_MEMORY_MIB} MiB that kubeadm asks for"
                )

    def _groups(self) -> Iterator[tuple[v1.Group, Path]]:
        nodes = self.spec.nodes
        for role, groups in (
            (Role.CONTROL_PLANE, nodes.control_plane),
            (Role.WORKER, nodes.workers),
        ):
            path: Path = (*_NODES, FIELD[role])
            for index, group in enumerate(groups):
                yield group, path if self.is_single(role) else (*path, index)

    def is_single(self, role: Role) -> bool:
        """Tell whether the file has one group instead of a list of groups."""
        return is_single(self.source, role)

    # -- network ---------------------------------------------------------------------------------

    def _networks(self, *, count_nodes: bool) -> None:
        network = self.spec.network
        pods = ipaddress.IPv4Network(network.pod_cidr)
        services = ipaddress.IPv4Network(network.service_cidr)
        pod_path, service_path = (*_NETWORK, "podCIDR"), (*_NETWORK, "serviceCIDR")
        if pods.overlaps(services):
            self._add(service_path, f"must not overlap podCIDR {pods}, got {services}")
        room = 1 << (24 - pods.prefixlen)
        if count_nodes and room < len(self.placed):
            text = f"must have a /24 for each of {len(self.placed)} nodes, got {pods} ({room})"
            self._add(pod_path, text)
        for provider, reserved in RESERVED.items():
            if self.spec.provider.name in (provider, "auto"):
                for path, found in ((pod_path, pods), (service_path, services)):
                    if found.overlaps(reserved):
                        text = f"must not overlap {reserved}, where {provider} puts its nodes"
                        self._add(path, f"{text}, got {found}")
        if count_nodes:
            self._addresses(pods, services)
        if network.cni == "none" and network.flannel.backend != v1.DEFAULT_BACKEND:
            self.warnings.append("spec.network.flannel has no effect with cni: none")

    def _addresses(self, pods: ipaddress.IPv4Network, services: ipaddress.IPv4Network) -> None:
        found: list[tuple[Path, str]] = []
        for placed in self.placed:
            host = placed.node.host
            if host and host.node_ip:
                found.append(((*placed.path, "nodeIP"), host.node_ip))
            elif host:
                found.append(((*placed.path, "address"), host.address))
        endpoint = self.spec.network.api_server_endpoint
        if endpoint:
            found.append(((*_NETWORK, "apiServerEndpoint"), endpoint.rpartition(":")[0]))
        for path, text in found:
            try:
                address = ipaddress.IPv4Address(text)
            except ValueError:
                continue  # a name: known only on the machines
            for field, network in (("podCIDR", pods), ("serviceCIDR", services)):
                if address in network:
                    self._add(path, f"must not be inside {field} {network}, got {address}")

    # -- the rest --------------------------------------------------------------------------------

    def _provider(self, known: Sequence[str], *, nodes_known: bool) -> None:
        provider = self.spec.provider
        path = (*_PROVIDER, "name")
        if provider.name not in known:
            choice = ", ".join(known)
            self._add(path, f'must be one of {choice}, got "{provider.name}"')
            return
        if provider.options and provider.name == "auto":
            self._add((*_PROVIDER, "options"), "needs the name of a provider instead of auto")
        if not nodes_known:
            return
        with_hosts = [p for p in self.placed if p.node.host is not None]
        if provider.name == "ssh" and provider.ssh.inventory is None:
            for group, group_path in self._groups():
                if group.hosts is None and group.count != 0 and group.names != []:
                    text = "must be given with provider ssh (or spec.provider.ssh.inventory)"
                    self._add((*group_path, "hosts"), text)
        elif provider.name != "ssh" and with_hosts:
            self._add(path, f'must be "ssh" when nodes have hosts, got "{provider.name}"')
        elif provider.name != "ssh" and provider.ssh.model_fields_set:
            self._add((*_PROVIDER, "ssh"), f'goes with the name "ssh" only, got "{provider.name}"')

    def _artifacts(self, left_out: set[Path]) -> None:
        artifacts = self.spec.artifacts
        path: Path = ("spec", "artifacts")
        twice = [name for name, times in Counter(artifacts.sources).items() if times > 1]
        if twice:
            self._add((*path, "sources"), f"has {', '.join(twice)} more than once")
        hidden = (*path, "sources") not in left_out and "mirror" not in artifacts.sources
        if artifacts.mirror and hidden:
            self._add((*path, "mirror"), 'has no effect unless sources has "mirror"')


def is_single(source: Source, role: Role) -> bool:
    """Tell whether the document has one group of this role instead of a list of groups."""
    spec = source.data.get("spec")
    nodes = spec.get("nodes") if isinstance(spec, dict) else None
    return not isinstance(nodes.get(FIELD[role]) if isinstance(nodes, dict) else None, list)
