"""Delete the nodes that a cluster has and its description does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.ansible import inventory
from ohmykube.errors import UnreachableError
from ohmykube.kit import parallel
from ohmykube.model.machine import Machine, MachineState
from ohmykube.planning import recording
from ohmykube.progress import Message, NodeProgress, Status
from ohmykube.providers.base import Forgets
from ohmykube.steps.connect_nodes import connect_nodes, disconnect
from ohmykube.steps.observe import provider_of
from ohmykube.steps.release_hosts import STAYS
from ohmykube.steps.run_playbook import CLUSTER_RESET, NODE_REMOVE, run_playbook
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ohmykube.model.change import Plan
    from ohmykube.planning.observation import Observed
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

DELETE_NODES = Step("delete-nodes", "Delete the machines")


def must_be_reset(
    ctx: Context, observed: Observed, plan: Plan, *, forget_unreachable: bool
) -> None:
    """Refuse a plan that takes away hosts that cannot be reset, unless they are to be forgotten.

    Raises:
        UnreachableError: names them; nothing was touched.
    """
    if ctx.provider.capabilities.creates or forget_unreachable:
        return
    lost = {
        one.node: machine.problem
        for one in plan.deletions
        if (machine := observed.machines.get(one.node)) is not None
        and machine.state is not MachineState.RUNNING
    }
    if lost:
        names = ", ".join(sorted(lost))
        raise UnreachableError(
            f"the hosts of nodes that are to be deleted cannot be reset: {names}",
            why="\n".join(f"{node}: {lost[node]}" for node in sorted(lost)),
            hint=f"the same command once {names} can be reached; if never, with "
            f"--forget-unreachable ({STAYS})",
            id="OMK-V-353",
        )


def delete_nodes(
    ctx: Context, plan: Plan, nodes: Nodes, *, forget_unreachable: bool = False
) -> Nodes:
    """Drain nodes, take them out of the cluster, and remove their machines; return what is left.

    Can be repeated wherever it was stopped. A host that was there before is reset instead.

    Args:
        ctx: the cluster as it is wanted.
        plan: names the nodes, in the order in which they go.
        nodes: the way to all nodes, those that go among them.
        forget_unreachable: let go of hosts that cannot be reached, too, with all that is on them.

    Raises:
        UnreachableError, NodeError: a node cannot leave the cluster; its machine is untouched.
        As the provider's ``delete``.
    """
    names = [one.node for one in plan.deletions]
    if not names:
        return nodes
    made = ctx.provider.capabilities.creates
    path = _inventory(ctx, plan, nodes)
    run_playbook(
        ctx,
        NODE_REMOVE,
        path,
        variables={
            "node_remove_nodes": ",".join(names),
            # A machine of ours goes for good, whatever is on it and whether it answers or not.
            "node_remove_gone": made or forget_unreachable,
            "node_remove_force": True,
        },
    )
    lost = frozenset() if made else _not_running(names, nodes)
    if not made and lost != frozenset(names):
        run_playbook(ctx, CLUSTER_RESET, path, scope=frozenset(names) - lost)
    with DELETE_NODES.running(ctx.services) as result:
        # A connection that is shared would keep what it leads to.
        disconnect(ctx.directory)
        parallel.each(names, lambda node: _delete(ctx, node, lost=node in lost))
        result.detail = ", ".join(names)
    left = {name: machine for name, machine in nodes.machines.items() if name not in names}
    return connect_nodes(ctx, left)


def _inventory(ctx: Context, plan: Plan, nodes: Nodes) -> Path:
    """Write an inventory that has the nodes that go beside the others."""
    both = recording.united(ctx.cluster, ctx.recorded, plan)
    hosts, shared = inventory.compose(
        cluster=both,
        lock=None,
        machines={node.name: _machine(ctx, node.name, nodes) for node in both.nodes},
        access=None,
        ssh_config=nodes.ssh_config,
        node_traits=ctx.node_traits,
    )
    return inventory.write(ctx.run_directory / "inventory-of-all", hosts, shared)


def _machine(ctx: Context, node: str, nodes: Nodes) -> Machine:
    """Return the machine of a node; one that is gone is in no play, and needs no address."""
    gone = Machine(cluster=ctx.cluster.name, node=node, state=MachineState.BROKEN, address="-")
    machine = nodes.machines.get(node, gone)
    return machine if machine.address else replace(machine, address="-")


def _not_running(names: Iterable[str], nodes: Nodes) -> frozenset[str]:
    """Return the nodes whose hosts are known and cannot be reached."""
    found = {name: nodes.machines[name] for name in names if name in nodes.machines}
    return frozenset(
        name for name, machine in found.items() if machine.state is not MachineState.RUNNING
    )


def _delete(ctx: Context, node: str, *, lost: bool) -> None:
    reporter = ctx.services.reporter
    reporter.emit(NodeProgress(node=node, activity="removing"))
    provider = provider_of(ctx)
    if lost and isinstance(provider, Forgets):
        provider.forget(ctx.cluster.name, node)
        reporter.emit(Message(text=f"node {node} is forgotten: {STAYS}", level="warning"))
    else:
        provider.delete(ctx.cluster.name, node)
    reporter.emit(NodeProgress(node=node, activity="removed", status=Status.OK))
