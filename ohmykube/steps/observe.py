"""Look at what there is of a cluster; changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import NodeError
from ohmykube.kit import parallel
from ohmykube.kube import node_state
from ohmykube.model.machine import MachineState
from ohmykube.planning.observation import Observed
from ohmykube.state import layout
from ohmykube.steps.nodes import Nodes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ohmykube.model.cluster import Cluster
    from ohmykube.model.node_state import NodeState
    from ohmykube.providers.base import Provider
    from ohmykube.steps.context import Context

CONFIGURED = "configured"
"""The milestone of the record that ends a whole run."""


def observe(ctx: Context) -> Observed:
    """Return what is there; nodes are asked side by side, each with one ssh command.

    A node that was reached before and does not answer counts as one that has joined.

    Raises:
        ProviderError, UnreachableError: the machines cannot be listed.
    """
    provider = provider_of(ctx)
    machines = {machine.node: machine for machine in provider.list(ctx.cluster.name)}
    path = ctx.directory / layout.SSH_CONFIG
    reached = _hosts(path) & machines.keys()
    running = [name for name in reached if machines[name].state is MachineState.RUNNING]
    nodes = Nodes(machines=machines, ssh_config=path, slowdown=ctx.slowdown)
    answers, problems = ask(ctx, nodes, sorted(running))
    silent = reached - answers.keys()
    return Observed(
        machines=machines,
        begun=frozenset(silent.union(name for name, one in answers.items() if one.begun)),
        joined=frozenset(silent.union(name for name, one in answers.items() if one.joined)),
        unfinished=ctx.record is None or ctx.record.done[-1:] != (CONFIGURED,),
        resizing=provider.capabilities.resizing,
        answers=answers,
        problems=problems,
    )


def provider_of(ctx: Context) -> Provider:
    """Return the provider that knows all nodes: those of before, too."""
    if ctx.recorded is None:
        return ctx.provider
    known = _known_by(ctx.cluster, ctx.recorded)
    if known == ctx.cluster:
        return ctx.provider
    return type(ctx.provider)(replace(ctx.provider.context, cluster=known))


def ask(
    ctx: Context, nodes: Nodes, names: Iterable[str], *, differences: bool = True
) -> tuple[dict[str, NodeState], dict[str, str]]:
    """Return what each node is like, of those that answer, and why the others do not.

    Args:
        ctx: whose cluster.
        nodes: the way to them.
        names: whom to ask.
        differences: whether they also compare themselves with their records.
    """
    network = ctx.cluster.network
    argv = node_state.argv(network, slowdown=ctx.slowdown, differences=differences)
    program = node_state.program()

    answers: dict[str, NodeState] = {}
    problems: dict[str, str] = {}

    def answer(name: str) -> None:
        try:
            answers[name] = node_state.parse(name, nodes.shell(name)(argv, program))
        except NodeError as error:
            problems[name] = error.why or error.message

    parallel.each(names, answer)
    return answers, problems


def _known_by(desired: Cluster, recorded: Cluster) -> Cluster:
    """Return the description by which the nodes that exist are found.

    That is at the hosts they were on, and with those that are described no more.
    """
    before = {node.name: node for node in recorded.nodes}
    nodes = []
    for node in desired.nodes:
        known = before.pop(node.name, None)
        host = known.host if known is not None else None
        moved = host and node.host and host.address != node.host.address
        nodes.append(replace(node, host=host) if moved else node)
    return replace(desired, nodes=(*nodes, *before.values()))


def _hosts(ssh_config: Path) -> set[str]:
    """Return the names in an ssh client configuration; none where no node was ever reached."""
    if not ssh_config.exists():
        return set()
    return {line.removeprefix("Host ") for line in ssh_config.read_text().splitlines()}
