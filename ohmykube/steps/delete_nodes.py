"""Delete the nodes that a cluster has and its description does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.ansible import inventory
from ohmykube.kit import parallel
from ohmykube.model.machine import Machine, MachineState
from ohmykube.planning import recording
from ohmykube.progress import NodeProgress, Status
from ohmykube.steps.connect_nodes import connect_nodes, disconnect
from ohmykube.steps.observe import provider_of
from ohmykube.steps.run_playbook import CLUSTER_RESET, NODE_REMOVE, run_playbook
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.model.change import Plan
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

DELETE_NODES = Step("delete-nodes", "Delete the machines")


def delete_nodes(ctx: Context, plan: Plan, nodes: Nodes) -> Nodes:
    """Drain nodes, take them out of the cluster, and remove their machines; return what is left.

    Can be repeated wherever it was stopped. A host that was there before is reset instead.

    Args:
        ctx: the cluster as it is wanted.
        plan: names the nodes, in the order in which they go.
        nodes: the way to all nodes, those that go among them.

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
            "node_remove_gone": made,
            "node_remove_force": True,
        },
    )
    if not made:
        run_playbook(ctx, CLUSTER_RESET, path, scope=frozenset(names))
    with DELETE_NODES.running(ctx.services) as result:
        # A connection that is shared would keep what it leads to.
        disconnect(ctx.directory)
        parallel.each(names, lambda node: _delete(ctx, node))
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


def _delete(ctx: Context, node: str) -> None:
    reporter = ctx.services.reporter
    reporter.emit(NodeProgress(node=node, activity="removing"))
    provider_of(ctx).delete(ctx.cluster.name, node)
    reporter.emit(NodeProgress(node=node, activity="removed", status=Status.OK))
