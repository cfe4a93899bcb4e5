"""Make or start all machines at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError
from ohmykube.kit import parallel
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.progress import NodeProgress, Status
from ohmykube.providers.base import NO_TEMPLATE

if TYPE_CHECKING:
    from ohmykube.model.cluster import Node
    from ohmykube.model.machine import Machine
    from ohmykube.providers.base import Provider
    from ohmykube.steps.base import Run


class PrepareNodes:
    """What all machines need once; apart from making them, so that it can go beside long downloads.

    No machine is made before it is known that everything for it is there.
    """

    name = "prepare-nodes"
    title = "Prepare for the nodes"

    def skip_reason(self, run: Run) -> str | None:
        """Nothing to do when all run already."""
        return _all_running(run)

    def run(self, run: Run) -> str:
        """Raise what the provider's ``prepare`` raises."""
        run.provider.prepare()
        return ""


class CreateNodes:
    """After this step every desired node has a running machine."""

    name = "create-nodes"
    title = "Start the nodes"

    def skip_reason(self, run: Run) -> str | None:
        """Nothing to do when all run already."""
        return _all_running(run)

    def run(self, run: Run) -> str:
        """Create is idempotent: it starts what is stopped and repairs what is half made."""
        before = dict(run.machines)
        run.changed = run.changed or run.plan.resizes or not _running(run)
        machines = parallel.each(run.cluster.nodes, lambda node: self._create(run, node))
        run.machines = before | {machine.node: machine for machine in machines}
        return f"{len(machines)} running"

    def _create(self, run: Run, node: Node) -> Machine:
        reporter = run.services.reporter
        reporter.emit(NodeProgress(node=node.name, activity="starting"))
        spec = MachineSpec(
            cluster=run.cluster.name,
            node=node.name,
            cpus=node.cpus,
            memory_mib=node.memory_mib,
            disk_gib=node.disk_gib,
            template=run.templates.get(node.role, ""),
        )
        try:
            machine = _made(run.provider, spec)
        except BaseException:
            reporter.emit(NodeProgress(node=node.name, activity="starting", status=Status.FAILED))
            raise
        reporter.emit(
            NodeProgress(
                node=node.name, activity="started", status=Status.OK, detail=machine.address
            )
        )
        return machine


def _made(provider: Provider, spec: MachineSpec) -> Machine:
    try:
        return provider.create(spec)
    except NotFoundError as error:
        if error.id != NO_TEMPLATE:
            raise
        # Removed since it was found: from scratch takes longer and comes to the same.
        return provider.create(replace(spec, template=""))


def _all_running(run: Run) -> str | None:
    # A run that did not end may have left a machine with another size.
    differs = run.plan.resizes or run.observed.unfinished
    return "all running" if _running(run) and not differs else None


def _running(run: Run) -> bool:
    states = [run.machines.get(node.name) for node in run.cluster.nodes]
    return all(m is not None and m.state is MachineState.RUNNING for m in states)
