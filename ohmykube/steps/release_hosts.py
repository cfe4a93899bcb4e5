"""Release hosts from their cluster: each leaves when it was reset, or when the user says so."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ohmykube.ansible import inventory
from ohmykube.errors import NodeError, OhmykubeError, UnreachableError
from ohmykube.kit import amounts, parallel
from ohmykube.model.cluster import Node, Role
from ohmykube.model.machine import MachineState
from ohmykube.progress import Message, NodeProgress, Status
from ohmykube.providers.base import Forgets
from ohmykube.steps.connect_nodes import connect_nodes, disconnect
from ohmykube.steps.run_playbook import reset_hosts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.model.machine import Machine
    from ohmykube.steps.context import Context

STAYS = "what is on the host stays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Which hosts of a cluster have left it; names of nodes, sorted."""

    reset: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    """With all that is on them, as they could not be reached and the user said so."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """Why the others are still the cluster's."""
    unreachable: frozenset[str] = frozenset()
    """Those of the kept that do not answer, or not as they should."""


def release_hosts(ctx: Context, *, forget_unreachable: bool) -> Released:
    """Reset every host of the cluster that answers; forget the others if the user says so.

    Hosts that answer and do not have the cluster's marker are left alone: they are not its hosts.
    """
    name = ctx.cluster.name
    machines = {machine.node: machine for machine in ctx.provider.list(name)}
    answering = {node: one for node, one in machines.items() if one.state is MachineState.RUNNING}
    unreachable = {
        node: machine.problem for node, machine in machines.items() if node not in answering
    }
    failed = _reset(ctx, answering)
    reset = sorted(answering.keys() - failed.keys())
    failed |= _delete(ctx, reset)
    forgotten: list[str] = []
    if forget_unreachable and isinstance(ctx.provider, Forgets):
        forgotten = sorted(unreachable)
        for node in forgotten:
            ctx.provider.forget(name, node)
            text = f"node {node} is forgotten: {STAYS} ({unreachable[node]})"
            ctx.services.reporter.emit(Message(text=text, level="warning"))
        unreachable = {}
    if not failed and not unreachable:
        # Of those that were never marked, too, nothing is remembered any more.
        _delete(ctx, sorted({node.name for node in ctx.cluster.nodes} - machines.keys()))
    return Released(
        reset=tuple(node for node in reset if node not in failed),
        forgotten=tuple(forgotten),
        kept={**failed, **unreachable},
        unreachable=frozenset(unreachable),
    )


def raise_for_kept(cluster: str, released: Released) -> None:
    """Raise an error that names the hosts that have not left their cluster, if there are any.

    Raises:
        UnreachableError: some do not answer; they can be forgotten.
        NodeError: they answer, and could not be reset.
    """
    kept = released.kept
    if not kept:
        return
    hosts = amounts.count(len(kept), "host")
    still = "is still part" if len(kept) == 1 else "are still part"
    message = f'{hosts} {still} of cluster "{cluster}": {", ".join(sorted(kept))}'
    why = "\n".join(f"{node}: {kept[node]}" for node in sorted(kept))
    again = f"ohmykube down {cluster}"
    if released.unreachable:
        lost = ", ".join(sorted(released.unreachable))
        raise UnreachableError(
            message,
            why=why,
            hint=f"{again} again once {lost} can be reached; if never, "
            f"{again} --forget-unreachable ({STAYS})",
            id="OMK-V-352",
        )
    raise NodeError(message, why=why, hint=f"mend the cause, then {again} again", id="OMK-N-351")


def _reset(ctx: Context, machines: Mapping[str, Machine]) -> dict[str, str]:
    """Reset hosts; return why it failed, by node name."""
    if not machines:
        return {}
    described = {node.name: node for node in ctx.cluster.nodes}
    nodes = tuple(
        described.get(name) or Node(name=name, role=Role.WORKER) for name in sorted(machines)
    )
    part = replace(ctx, cluster=replace(ctx.cluster, nodes=nodes))
    # None is waited for: all have just answered, and the playbook says which do not any more.
    way = connect_nodes(part, machines, frozenset())
    hosts, shared = inventory.compose(
        cluster=part.cluster,
        lock=None,
        machines=machines,
        access=None,
        ssh_config=way.ssh_config,
        node_traits=ctx.node_traits,
    )
    path = inventory.write(ctx.run_directory / "inventory", hosts, shared)
    failed = reset_hosts(part, path, sorted(machines))
    disconnect(ctx.directory)
    return failed


def _delete(ctx: Context, nodes: list[str]) -> dict[str, str]:
    """Take the marker off hosts; return why it failed, by node name."""
    emit = ctx.services.reporter.emit

    def delete(node: str) -> str:
        emit(NodeProgress(node=node, activity="removing"))
        try:
            ctx.provider.delete(ctx.cluster.name, node)
        except OhmykubeError as error:
            emit(NodeProgress(node=node, activity="removing", status=Status.FAILED))
            return f"{error.message}: {error.why}" if error.why else error.message
        emit(NodeProgress(node=node, activity="removed", status=Status.OK))
        return ""

    told = dict(zip(nodes, parallel.each(nodes, delete), strict=True))
    return {node: problem for node, problem in told.items() if problem}
