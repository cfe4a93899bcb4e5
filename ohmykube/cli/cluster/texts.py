"""Results of the commands on clusters, as text for people."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ohmykube.cli.expose.texts import places
from ohmykube.kit import amounts
from ohmykube.model.outside import HOST_NAME
from ohmykube.ui.console import one_line, seconds
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.workflows.down import DownResult
    from ohmykube.workflows.power import PowerResult
    from ohmykube.workflows.status import ClusterStatus, ClusterSummary, NodeStatus
    from ohmykube.workflows.up_values import UpResult


def up(result: UpResult) -> str:
    """Return the nodes and the two commands to type next."""
    count = amounts.count(len(result.nodes), "node")
    if result.changed:
        head = f'Cluster "{result.cluster}" is ready: {count}, {seconds(result.seconds)}'
    else:
        head = (
            f'Cluster "{result.cluster}" is up to date: {count}, nothing changed'
            f" ({seconds(result.seconds)})"
        )
    parts = [head, "", nodes(result.nodes).rstrip("\n")]
    if result.outside is not None:
        host = "" if result.outside.nothing else f"; this host is {HOST_NAME} to them"
        parts += ["", f"  Nodes and pods reach {result.outside}{host}."]
    parts += places(result.cluster, result.exposed)
    if result.kubeconfig is not None:
        parts += ["", f"  export KUBECONFIG={shlex.quote(str(result.kubeconfig))}"]
        parts += [f"  {shlex.quote(result.kubectl)} get nodes"]
    return "\n".join(parts) + "\n"


def nodes(found: Sequence[NodeStatus]) -> str:
    """Return one row for each node, then why some are not ready."""
    text = table(
        ("name", "role", "address", "version", "state"),
        [(n.name, n.role, n.address, n.version, _state(n)) for n in found],
    )
    reasons: dict[str, list[str]] = {}
    for node in found:
        if node.detail:
            reasons.setdefault(one_line(node.detail), []).append(node.name)
    said = [f"{', '.join(names)}: {reason}\n" for reason, names in reasons.items()]
    return text + ("\n" + "".join(said) if said else "")


def _state(node: NodeStatus) -> str:
    if node.machine != "running":
        return node.machine
    return "Ready" if node.ready else "NotReady"


def down(result: DownResult) -> str:
    """Return what ``down`` removed."""
    if not result.cluster:
        return "There is no cluster: nothing to remove\n"
    if not result.existed:
        return f'There is no cluster "{result.cluster}": nothing to remove\n'
    nodes = amounts.count(len(result.removed), "node")
    lost = f", {', '.join(result.forgotten)} forgotten" if result.forgotten else ""
    return f'Cluster "{result.cluster}" is gone ({nodes} removed{lost})\n'


def status(found: ClusterStatus) -> str:
    """Return one cluster and its nodes."""
    head = (
        f"{found.name}: {found.health}  (Kubernetes {found.kubernetes_version},"
        f" provider {found.provider})"
    )
    parts = [head]
    if found.detail:
        parts.append(one_line(found.detail))
    parts += ["", nodes(found.nodes).rstrip("\n")]
    if found.kubeconfig is not None:
        parts += ["", f"kubeconfig: {found.kubeconfig}"]
    return "\n".join(parts) + "\n"


def clusters(found: Sequence[ClusterSummary]) -> str:
    """Return one row for each cluster."""
    if not found:
        return "There is no cluster; make one with: ohmykube up\n"
    rows = [
        (
            one.name,
            one.provider,
            one.kubernetes_version,
            one.detail or f"{one.running} of {one.nodes} running",
        )
        for one in found
    ]
    return table(("name", "provider", "kubernetes", "nodes"), rows)


def power(result: PowerResult, action: str) -> str:
    """Return what was started or stopped."""
    done = {"start": "runs", "stop": "is stopped"}[action]
    head = f'Cluster "{result.cluster}" {done} ({amounts.count(len(result.nodes), "node")})'
    return "\n".join([head, *places(result.cluster, result.exposed)]) + "\n"
