"""What the provider of a description says of its options, before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError, PrerequisiteError
from ohmykube.model.cluster import Node, Role
from ohmykube.planning.diff import ANY_PROVIDER
from ohmykube.progress import Message
from ohmykube.workflows import session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.config.load import Inspected
    from ohmykube.config.problems import Path
    from ohmykube.model.cluster import Cluster
    from ohmykube.steps.context import Services

OPTIONS = ("spec", "provider", "options")


def check_description(services: Services, described: Inspected) -> Cluster:
    """Return the cluster of a file, whose provider has judged its options too; changes nothing.

    Raises:
        ConfigError: the file is wrong; ``problems`` has everything.
    """
    cluster = described.cluster
    found = () if cluster is None else _of_options(services, cluster, described)
    described.refuse(found)
    if cluster is None:
        raise AssertionError("there is a problem where there is no cluster")
    return cluster


def _of_options(
    services: Services, cluster: Cluster, described: Inspected
) -> Sequence[tuple[Path, str]]:
    """Return what the provider says of its options, which it judges when it is made."""
    known = {problem.path for problem in described.problems}
    if cluster.provider == ANY_PROVIDER or (*OPTIONS[:-1], "name") in known:
        return ()  # has no options, or nobody knows whose they are: the file's own check tells
    if not described.nodes_known:
        cluster = _with_nodes_of(cluster)
    try:
        session.provider_of(services, cluster.provider, cluster)
    except PrerequisiteError as error:
        text = f"options of provider {cluster.provider} are not checked: {error.message}"
        services.reporter.emit(Message(text=text, level="warning"))
    except ConfigError as error:
        return [_placed(text) for text in error.problems or (error.message,)]
    return ()


def _with_nodes_of(cluster: Cluster) -> Cluster:
    """Add the nodes that options name, where the file's own nodes are not known."""
    there = {node.name for node in cluster.nodes}
    options = [one for one in cluster.provider_options.values() if isinstance(one, Mapping)]
    named = {str(name) for one in options for name in one} - there
    more = (Node(name=name, role=Role.WORKER) for name in sorted(named))
    return replace(cluster, nodes=(*cluster.nodes, *more))


def _placed(text: str) -> tuple[Path, str]:
    """Return where in the file a problem is that a provider tells, and what is wrong there."""
    place, colon, rest = text.partition(": ")
    path = tuple(place.split("."))
    if colon and path[: len(OPTIONS)] == OPTIONS:
        return path, rest
    return OPTIONS, text
