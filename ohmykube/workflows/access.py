"""Ways into a cluster: its kubeconfig and a shell on a node."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError, UsageError
from ohmykube.kit import shell
from ohmykube.state import layout
from ohmykube.steps.fetch_kubeconfig import users_copy
from ohmykube.steps.probe_nodes import must_run
from ohmykube.steps.restore_helpers import restore_helpers
from ohmykube.workflows import session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.steps.context import Services


def kubeconfig(services: Services, name: str) -> Path:
    """Return the path of the cluster's kubeconfig; behind sudo, of the user's copy.

    The port of this host that it names leads into the cluster then, if that runs.

    Raises:
        NotFoundError: no such cluster, or its ``up`` has not come so far.
    """
    _, cluster = session.recorded(services, name)
    restore_helpers(session.looking(services, cluster))
    path = services.state.directory(name) / layout.KUBECONFIG
    if services.sudo_user is not None and users_copy(services.sudo_user, name).exists():
        return users_copy(services.sudo_user, name)
    if not path.exists():
        raise NotFoundError(
            f'cluster "{name}" has no kubeconfig yet', why="`up` has not ended", hint="ohmykube up"
        )
    return path


def shell_argv(services: Services, name: str, node: str, command: Sequence[str]) -> tuple[str, ...]:
    """Return the ssh command line for a node; an empty ``command`` asks for a login shell.

    Raises:
        NotFoundError: no such cluster or node, or it was never reached.
        UsageError: a cluster was named where a node is.
        UnreachableError: its machine does not run.
    """
    _, cluster = session.recorded(services, name)
    ctx = session.looking(services, cluster)
    known = [n.name for n in cluster.nodes]
    if node not in known:
        if node in services.state.names():
            there = command[0] if command else "NODE"
            raise UsageError(
                f"{node} is a cluster, and `shell` takes the name of a node",
                why="the name of a cluster goes with --name",
                hint=f"ohmykube shell --name {node} {shell.word(there)}",
                id="OMK-U-603",
            )
        raise NotFoundError(
            f'no node "{node}" in cluster "{name}"',
            why=f"nodes: {', '.join(known)}",
            hint="ohmykube status",
        )
    path = ctx.directory / layout.SSH_CONFIG
    if not path.exists():
        raise NotFoundError(f"node {node} was never reached", hint="ohmykube up")
    # Hosts of others are not looked at before: ssh itself says best why one does not answer.
    if ctx.provider.capabilities.powers:
        machines = {machine.node: machine for machine in ctx.provider.list(name)}
        must_run(name, node, machines.get(node))
    restore_helpers(ctx)
    base = ("ssh", "-F", str(path))
    if not command:
        return (*base, "-t", node)
    return (*base, node, "--", shlex.join(command))
