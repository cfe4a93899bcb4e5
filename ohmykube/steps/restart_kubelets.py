"""Let kubelets know that their machines have another size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.kit import parallel
from ohmykube.model.change import SIZES, ReconfigureNode
from ohmykube.model.machine import MachineState, Resize
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from ohmykube.model.change import Plan
    from ohmykube.planning.observation import Observed
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

RESTART_KUBELETS = Step("restart-kubelets", "Restart the kubelets of resized machines")


def restart_kubelets(ctx: Context, observed: Observed, plan: Plan, nodes: Nodes) -> None:
    """Restart the kubelets of machines that were given another size while they ran.

    A kubelet reads once, when it starts, how many CPUs and how much memory its machine has, and the
    scheduler places pods by that. Pods run on meanwhile. After a run that did not end nobody knows
    which kubelets have seen the size of today, so all are restarted.

    Args:
        ctx: whose cluster.
        observed: what was there before.
        plan: what followed from that, and was brought about.
        nodes: the way to them.

    Raises:
        NodeError: a node did not do it.
    """
    names = _resized_while_running(observed, plan)
    if names:
        with RESTART_KUBELETS.running(ctx.services) as result:
            restart = ["systemctl", "try-restart", "kubelet.service"]
            parallel.each(names, lambda node: nodes.shell(node)(restart))
            result.detail = ", ".join(names)


def _resized_while_running(observed: Observed, plan: Plan) -> list[str]:
    sizes = {size for size in SIZES if getattr(observed.resizing, size) is Resize.LIVE}
    changed = {
        one.node
        for one in plan.changes
        if isinstance(one, ReconfigureNode) and one.field.rpartition(".")[2] in sizes
    }
    if observed.unfinished and sizes:
        changed |= observed.joined
    running = {n for n, m in observed.machines.items() if m.state is MachineState.RUNNING}
    return sorted(changed & observed.joined & running)
