"""Make or start all machines at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError
from ohmykube.kit import parallel
from ohmykube.model.machine import MachineSpec, running
from ohmykube.planning.scope import nodes_in
from ohmykube.progress import NodeProgress, Status
from ohmykube.providers.base import NO_TEMPLATE
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.model.change import Plan
    from ohmykube.model.cluster import Node, Role
    from ohmykube.model.machine import Machine
    from ohmykube.planning.observation import Observed
    from ohmykube.planning.scope import Scope
    from ohmykube.providers.base import Provider
    from ohmykube.steps.context import Context

PREPARE_NODES = Step("prepare-nodes", "Prepare for the nodes")
CREATE_NODES = Step("create-nodes", "Start the nodes")


def all_running(ctx: Context, observed: Observed) -> bool:
    """Tell whether every node that is wanted has a running machine."""
    return all(running(observed.machines.get(node.name)) for node in ctx.cluster.nodes)


def prepare_nodes(ctx: Context, observed: Observed, plan: Plan) -> None:
    """Do what all machines need once; raises what the provider's ``prepare`` raises.

    It is apart from making them so that it can go beside long downloads: no machine is made before
    it is known that everything for it is there.
    """
    if not _to_do(ctx, observed, plan):
        PREPARE_NODES.skipped(ctx.services, "all running")
        return
    with PREPARE_NODES.running(ctx.services):
        ctx.provider.prepare()


def create_nodes(
    ctx: Context,
    observed: Observed,
    plan: Plan,
    templates: Mapping[Role, str],
    scope: Scope = None,
) -> dict[str, Machine]:
    """Make or start all machines at once, so that every node that is wanted has a running one.

    Args:
        ctx: whose cluster.
        observed: what was there before.
        plan: what follows from that.
        templates: key of the template to clone for nodes of a role.
        scope: whose machines may lack something; the others run as they should.

    Returns:
        By node name, with machines that the cluster does not have.

    Raises:
        As the provider's ``create``: that starts what is stopped and repairs what is half made.
    """
    if not _to_do(ctx, observed, plan):
        CREATE_NODES.skipped(ctx.services, "all running")
        return dict(observed.machines)
    words = {node.name: _words(node.name, observed, plan) for node in ctx.cluster.nodes}
    with CREATE_NODES.running(ctx.services) as result:
        made = parallel.each(
            nodes_in(ctx.cluster, scope),
            lambda node: _create(ctx, node, templates.get(node.role, ""), words[node.name]),
        )
        result.detail = f"{len(ctx.cluster.nodes)} running"
    return {**observed.machines, **{machine.node: machine for machine in made}}


def _words(node: str, observed: Observed, plan: Plan) -> tuple[str, str]:
    """Return what is done to a machine, and what has been done then; empty for nothing."""
    if not running(observed.machines.get(node)):
        return "starting", "started"
    return ("resizing", "resized") if node in plan.resized else ("", "")


def _create(ctx: Context, node: Node, template: str, words: tuple[str, str]) -> Machine:
    """Make or start a machine; of one that runs as it should it is only made sure."""
    reporter = ctx.services.reporter
    doing, done = words
    if doing:
        reporter.emit(NodeProgress(node=node.name, activity=doing))
    spec = MachineSpec(
        cluster=ctx.cluster.name,
        node=node.name,
        cpus=node.cpus,
        memory_mib=node.memory_mib,
        disk_gib=node.disk_gib,
        mounts=node.mounts,
        template=template,
    )
    try:
        machine = _made(ctx.provider, spec)
    except BaseException:
        activity = doing or "checking its machine"
        reporter.emit(NodeProgress(node=node.name, activity=activity, status=Status.FAILED))
        raise
    if done:
        reporter.emit(
            NodeProgress(node=node.name, activity=done, status=Status.OK, detail=machine.address)
        )
    return machine


def _to_do(ctx: Context, observed: Observed, plan: Plan) -> bool:
    # A run that did not end may have left a machine with another size.
    return not all_running(ctx, observed) or plan.resizes or observed.unfinished


def _made(provider: Provider, spec: MachineSpec) -> Machine:
    try:
        return provider.create(spec)
    except NotFoundError as error:
        if error.id != NO_TEMPLATE:
            raise
        # Removed since it was found: from scratch takes longer and comes to the same.
        return provider.create(replace(spec, template=""))
