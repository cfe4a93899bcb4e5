"""Write the ssh client configuration and wait until every node answers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ohmykube.ansible.inventory import machine_of
from ohmykube.errors import TimeoutExceeded, UnreachableError
from ohmykube.kit import files, parallel, process, retry
from ohmykube.planning.scope import nodes_in
from ohmykube.providers import ssh_config
from ohmykube.state import layout
from ohmykube.steps.nodes import Nodes
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ohmykube.model.machine import Machine
    from ohmykube.planning.scope import Scope
    from ohmykube.steps.context import Context

CONNECT_NODES = Step("connect-nodes", "Reach the nodes by ssh")
ANSWER = retry.Wait(seconds=60, every=0.15, factor=1.3, longest=2)
PROBE_SECONDS = 10


def connect_nodes(ctx: Context, machines: Mapping[str, Machine], scope: Scope = None) -> Nodes:
    """Let all ssh of a run go by one file; return the nodes as they are reached by it.

    Args:
        ctx: whose cluster.
        machines: by node name. Those that the cluster does not have stay within reach too.
        scope: the nodes that are waited for.

    Raises:
        ProviderError: a node has no machine.
        UnreachableError: a node does not answer in time.
    """
    with CONNECT_NODES.running(ctx.services) as result:
        wanted = {n.name: machine_of(ctx.cluster, n, machines) for n in ctx.cluster.nodes}
        targets = {m.node: m.ssh for m in {**wanted, **machines}.values() if m.ssh is not None}
        path = ctx.directory / layout.SSH_CONFIG
        control = layout.control_directory(ctx.directory)
        files.write(path, ssh_config.render(targets, control, slowdown=ctx.slowdown))
        answering = [n.name for n in nodes_in(ctx.cluster, scope) if n.name in targets]
        parallel.each(answering, lambda node: _wait(ctx, path, node))
        result.detail = f"{len(answering)} answer"
    return Nodes(machines=machines, ssh_config=path, slowdown=ctx.slowdown)


def _wait(ctx: Context, path: Path, node: str) -> None:
    last: list[UnreachableError] = []

    def probe() -> bool | None:
        try:
            ssh_config.probe(path, node, timeout=PROBE_SECONDS * ctx.slowdown)
        except UnreachableError as error:
            if error.id in ssh_config.REFUSED:
                raise  # waiting does not make a key welcome
            last.append(error)
            return None
        return True

    try:
        retry.until(ctx.services.clock, ANSWER.times(ctx.slowdown), f"ssh of {node}", probe)
    except TimeoutExceeded:
        if last:
            raise last[-1] from None
        raise


def disconnect(directory: Path) -> None:
    """End the shared connections of a cluster; without effect when there are none.

    A connection into a node's network namespace keeps that namespace alive.
    """
    path = directory / layout.SSH_CONFIG
    if not path.exists():
        return
    for socket in layout.control_directory(directory).iterdir():
        argv = ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "node"]
        # One that hangs is dead already: its node is about to go, and it ends by itself then.
        with contextlib.suppress(process.CommandFailed):
            process.run(argv, timeout=5, check=False)
