"""What the fields of a cluster must be to each other."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ohmykube.config import fields, network_checks, patches, v1, v1_network
from ohmykube.config.document import FIELD
from ohmykube.config.problems import Path, Problem, closest, dotted, echo
from ohmykube.model import names
from ohmykube.model.cluster import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ohmykube.config.nodes import PlacedNode
    from ohmykube.config.yaml_source import Source

_NODES = ("spec", "nodes")
_PROVIDER = ("spec", "provider")
_NAME = (*_PROVIDER, "name")
_OF_THE_SET = ("name", "names", "count", "hosts")
"""Fields of a group, or of its hosts, that say which nodes there are."""

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
        self._left_out: set[Path] = set()

    def run(self, left_out: set[Path], known_providers: Sequence[str]) -> None:
        """Check everything that does not hang on a value that was left out."""
        self._left_out = left_out
        nodes_known = are_nodes_known(left_out)
        self._names(self.placed if nodes_known else [p for p in self.placed if p.named])
        self._machines()
        self._taints()
        if nodes_known:
            self._counts()
            self._hosts()
            self._sizes()
        self._networks(count_nodes=nodes_known)
        self._provider(known_providers, nodes_known=nodes_known)
        self._artifacts()
        self.problems += patches.problems(self.spec.kubeadm, self.source)

    def _add(self, path: Path, text: str) -> None:
        inventory = self.spec.provider.ssh.inventory
        depth = path.index("hosts") + 2 if "hosts" in path else 0
        if inventory is not None and depth and path[:depth] not in self.source.lines:
            # The host does not stand in this file.
            name = next(p.node.name for p in self.placed if p.path == path[:depth])
            field = "".join(f", {part}" for part in path[depth:])
            text = f"{echo(inventory)[1:-1]}: node {name}{field} {text}"
            path = (*_PROVIDER, "ssh", "inventory")
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

    def _names(self, nodes: Sequence[PlacedNode]) -> None:
        seen: dict[str, PlacedNode] = {}
        for placed in nodes:
            name = placed.node.name
            if name in seen:
                self._add(placed.path, f'has the node name "{name}", which is taken already')
            elif placed.node.host is None and not names.is_name(name):
                self._add(placed.path, f"makes the node name {name}, which is too long")
            elif name in names.RESERVED:
                text = f'has the node name "{name}", which means something else to Ansible'
                self._add(placed.path, text)
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

    def _machines(self) -> None:
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

    def _knows(self, *path: str) -> bool:
        """Tell whether a value is what the file says, and not there for one that was wrong."""
        return not any(path[:end] in self._left_out for end in range(1, len(path) + 1))

    def _networks(self, *, count_nodes: bool) -> None:
        network = self.spec.network
        found = network_checks.problems(
            self.spec, self.placed, self._knows, count_nodes=count_nodes
        )
        for path, text in found:
            self._add(path, text)
        if (
            network.cni != v1_network.DEFAULT_CNI
            and network.flannel.backend != v1_network.DEFAULT_BACKEND
        ):
            self.warnings.append(f"spec.network.flannel has no effect with cni: {network.cni}")

    # -- the rest --------------------------------------------------------------------------------

    def _provider(self, known: Sequence[str], *, nodes_known: bool) -> None:
        provider = self.spec.provider
        path: Path = _NAME
        if provider.name not in known:
            choice = ", ".join(known)
            text = f'must be one of {choice}, got "{provider.name}"{closest(provider.name, known)}'
            self._add(path, text)
            return
        if provider.options and provider.name == "auto":
            self._add((*_PROVIDER, "options"), "needs the name of a provider instead of auto")
        if not nodes_known or not self._knows(*_NAME):
            return
        with_hosts = [p for p in self.placed if p.node.host is not None]
        listed = provider.ssh.inventory is None and self._knows(*_PROVIDER, "ssh", "inventory")
        if provider.name == "ssh" and listed:
            for group, group_path in self._groups():
                if group.hosts is None and group.count != 0 and group.names != []:
                    text = "must be given with provider ssh (or spec.provider.ssh.inventory)"
                    self._add((*group_path, "hosts"), text)
        elif provider.name == "ssh":
            return
        elif with_hosts:
            self._add(path, f'must be "ssh" when nodes have hosts, got "{provider.name}"')
        elif provider.ssh.model_fields_set:
            self._add((*_PROVIDER, "ssh"), f'goes with the name "ssh" only, got "{provider.name}"')

    def _artifacts(self) -> None:
        artifacts = self.spec.artifacts
        path = ("spec", "artifacts")
        twice = [name for name, times in Counter(artifacts.sources).items() if times > 1]
        if twice:
            self._add((*path, "sources"), f"has {', '.join(twice)} more than once")
        hidden = self._knows(*path, "sources") and "mirror" not in artifacts.sources
        if artifacts.mirror and hidden:
            self._add((*path, "mirror"), 'has no effect unless sources has "mirror"')


def are_nodes_known(left_out: Iterable[Path]) -> bool:
    """Tell whether it is known which nodes there are, although some values were left out."""
    return not any(
        path[:2] == _NODES[: len(path)]
        and (not isinstance(path[-1], str) or len(path) < 4 or path[-1] in _OF_THE_SET)
        and "labels" not in path
        for path in left_out
    )


def is_single(source: Source, role: Role) -> bool:
    """Tell whether the document has one group of this role instead of a list of groups."""
    spec = source.data.get("spec")
    nodes = spec.get("nodes") if isinstance(spec, dict) else None
    return not isinstance(nodes.get(FIELD[role]) if isinstance(nodes, dict) else None, list)
