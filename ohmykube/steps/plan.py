"""Compare what is wanted with the machines that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.model.machine import MachineState
from ohmykube.progress import Message
from ohmykube.steps.base import PlannedAction

if TYPE_CHECKING:
    from ohmykube.steps.base import Run


class Plan:
    """Fill ``run.machines`` and ``run.plan``; changes nothing."""

    name = "plan"
    title = "Compare with what is there"

    def run(self, run: Run) -> str:
        """Reality outranks the record: the provider is asked."""
        run.machines = {m.node: m for m in run.provider.list(run.cluster.name)}
        actions = []
        for node in run.cluster.nodes:
            machine = run.machines.get(node.name)
            if machine is None:
                verb, why = "create", f"{node.role} that does not exist yet"
            elif machine.state is MachineState.RUNNING:
                verb, why = "keep", "running"
            elif machine.state is MachineState.STOPPED:
                verb, why = "start", "stopped"
            else:
                verb, why = "create", "half made"
            actions.append(PlannedAction(verb=verb, what=node.name, why=why))
        wanted = {node.name for node in run.cluster.nodes}
        for name in sorted(set(run.machines) - wanted):
            text = f"node {name} is not in the desired cluster; it is left as it is"
            run.services.reporter.emit(Message(text=text, level="warning"))
        done = run.record is not None and "configured" in run.record.done
        why = "verify, change what differs" if done else "containerd, kubeadm, pod network"
        actions.append(PlannedAction(verb="configure", what=run.cluster.name, why=why))
        run.plan = tuple(actions)
        new = sum(a.verb == "create" for a in actions)
        return f"{new} to create, {len(run.cluster.nodes) - new} there"
