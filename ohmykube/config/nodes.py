"""From groups of nodes to single nodes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.config import v1
from ohmykube.config.document import FIELD
from ohmykube.kit import paths
from ohmykube.model.cluster import Host, Node, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.config.node_files import Reader
    from ohmykube.config.problems import Path as ValuePath

DEFAULT_COUNT = {Role.CONTROL_PLANE: 1, Role.WORKER: 2}
PREFIX = {Role.CONTROL_PLANE: v1.CONTROL_PLANE_PREFIX, Role.WORKER: v1.WORKER_PREFIX}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedNode:
    """A node and where it stands in the file."""

    node: Node
    path: ValuePath
    """Of its host, its name, or its group."""
    named: bool = False
    """Its name is in the file, and no number of its group."""


def place(
    nodes: v1.Nodes, ssh: v1.Ssh, base: Path, single: Mapping[Role, bool], reader: Reader
) -> list[PlacedNode]:
    """Return all nodes, control planes first.

    Args:
        nodes: the groups.
        ssh: defaults for hosts.
        base: directory that relative paths are taken from.
        single: whether the file has one group without a list, for the paths.
        reader: of the files that nodes get.
    """
    placed: list[PlacedNode] = []
    for role, groups in ((Role.CONTROL_PLANE, nodes.control_plane), (Role.WORKER, nodes.workers)):
        numbers: dict[str, int] = {}
        for index, group in enumerate(groups):
            path: ValuePath = ("spec", "nodes", FIELD[role])
            if not single[role]:
                path = (*path, index)
            files = reader.files(group.files, (*path, "files"))
            made = _group(group, role, path, numbers, _Hosts(ssh, base))
            placed += [replace(one, node=replace(one.node, files=files)) for one in made]
    return placed


def count(group: v1.Group, role: Role) -> int:
    """Return how many nodes a group has."""
    if group.hosts is not None:
        return len(group.hosts)
    if group.names is not None:
        return len(group.names)
    return DEFAULT_COUNT[role] if group.count is None else group.count


def _group(
    group: v1.Group, role: Role, path: ValuePath, numbers: dict[str, int], hosts: _Hosts
) -> list[PlacedNode]:
    prefix = group.name or PREFIX[role]
    placed = []
    for index in range(count(group, role)):
        host = group.hosts[index] if group.hosts is not None else None
        where = (*path, "hosts", index) if host else path
        name = host.name if host else None
        if name is None and group.names is not None and index < len(group.names):
            name, where = group.names[index], (*path, "names", index)
        named = name is not None
        if name is None:
            numbers[prefix] = numbers.get(prefix, 0) + 1
            name = f"{prefix}{numbers[prefix]}"
        node = Node(
            name=name,
            role=role,
            cpus=None if host else group.cpus,
            memory_mib=None if host else group.memory,
            disk_gib=None if host else group.disk,
            labels=dict(group.labels),
            taints=None if group.taints is None else tuple(group.taints),
            host=hosts.model(host) if host else None,
        )
        placed.append(PlacedNode(node=node, path=where, named=named))
    return placed


class _Hosts:
    """Hosts with the defaults of the ssh provider filled in."""

    def __init__(self, ssh: v1.Ssh, base: Path) -> None:
        self._ssh = ssh
        self._base = base

    def model(self, host: v1.Host) -> Host:
        ssh = self._ssh
        identity = host.identity_file or ssh.identity_file
        return Host(
            address=host.address,
            port=host.port or ssh.port,
            user=host.user or ssh.user,
            identity_file=absolute(identity, self._base) if identity else None,
            jump=host.jump or ssh.jump,
            become=ssh.become if host.become is None else host.become,
            containerd_takeover=host.containerd_takeover,
            host_key=host.host_key,
            node_ip=host.node_ip,
        )


def absolute(text: str, base: Path) -> Path:
    """Return the path that a text in the file means: ``~`` expanded, relative to the file.

    Raises:
        UsageError: it is relative to the working directory, and that is gone.
    """
    path = Path(text)
    with contextlib.suppress(RuntimeError):  # no such user, no HOME: kept as it is
        path = path.expanduser()
    return paths.absolute(base / path)
