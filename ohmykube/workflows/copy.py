"""``cp``: files to a node, or from one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError, UsageError
from ohmykube.steps import copy_files
from ohmykube.steps.probe_nodes import probe_nodes
from ohmykube.steps.restore_helpers import restore_helpers
from ohmykube.workflows import session

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster
    from ohmykube.steps.context import Services
    from ohmykube.steps.copy_files import Copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A path as it is given, of this host or of a node."""

    path: str
    node: str = ""
    """Empty for this host."""


def place(text: str) -> Place:
    """Return what ``NODE:PATH`` or ``PATH`` means; with a slash before the colon it is a path.

    Raises:
        UsageError: it is empty.
    """
    node, colon, path = text.partition(":")
    if colon and node and "/" not in node:
        return Place(node=node, path=path)
    if not text:
        raise UsageError("a path is empty", hint="ohmykube cp --help", id="OMK-U-550")
    return Place(path=text)


def copy(services: Services, name: str, source: Place, target: Place) -> Copied:
    """Copy a file or a directory between this host and a node.

    Raises:
        UsageError: both are of this host, or of nodes.
        NotFoundError: no such cluster, node or source.
        UnreachableError: the node does not answer.
        Others: as ``copy_files``.
    """
    if bool(source.node) is bool(target.node):
        both = "nodes: copy to this host first" if source.node else "this host"
        raise UsageError(
            f"both paths are of {both}",
            why="a path of a node begins with its name, as in w1:/etc/hosts",
            hint="ohmykube cp --help",
            id="OMK-U-551",
        )
    _, cluster = session.recorded(services, name)
    node = source.node or target.node
    _check_node(cluster, node, target if target.node else source)
    ctx = session.looking(services, cluster)
    restore_helpers(ctx)
    shell = probe_nodes(ctx, [node]).answers[node].shell
    if target.node:
        return copy_files.to_node(source.path, shell, target.path)
    return copy_files.from_node(shell, source.path, target.path, services.sudo_user)


def _check_node(cluster: Cluster, node: str, of: Place) -> None:
    known = [one.name for one in cluster.nodes]
    if node not in known:
        raise NotFoundError(
            f'no node "{node}" in cluster "{cluster.name}"',
            why=f"nodes: {', '.join(known)}",
            hint=f"for a file of this host write ./{node}:{of.path}",
            id="OMK-U-552",
        )
