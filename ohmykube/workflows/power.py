"""``start`` and ``stop`` of a whole cluster."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ohmykube.errors import PrerequisiteError
from ohmykube.kit import parallel
from ohmykube.model.exposure import Exposed
from ohmykube.progress import NodeProgress, Status
from ohmykube.steps.connect_nodes import connect_nodes
from ohmykube.steps.hand_over import hand_over
from ohmykube.steps.step import Step
from ohmykube.workflows import session

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster, Node
    from ohmykube.steps.context import Context, Services

WAIT_SECONDS = 300.0
START_NODES = Step("start-nodes", "Start the machines")
STOP_NODES = Step("stop-nodes", "Stop the machines")


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerResult:
    """Which nodes were started or stopped."""

    cluster: str
    nodes: tuple[str, ...]
    exposed: Exposed = field(default_factory=Exposed)
    """Where this host reaches services of a cluster that was started."""


def start(services: Services, name: str) -> PowerResult:
    """Start all machines of a cluster and wait until it is healthy again.

    Also brings a cluster back after its host was rebooted.
    """
    _, cluster = session.recorded(services, name)
    with session.working(services, cluster) as ctx:
        _must_power(ctx)

        def begin(node: Node) -> None:
            services.reporter.emit(NodeProgress(node=node.name, activity="starting"))
            ctx.provider.start(name, node.name)
            services.reporter.emit(
                NodeProgress(node=node.name, activity="started", status=Status.OK)
            )

        with START_NODES.running(services):
            parallel.each(cluster.nodes, begin)
        machines = {machine.node: machine for machine in ctx.provider.list(name)}
        handed = hand_over(ctx, connect_nodes(ctx, machines), None, usual=WAIT_SECONDS)
    return replace(_result(cluster), exposed=handed.exposed)


def stop(services: Services, name: str) -> PowerResult:
    """Stop all machines of a cluster, workers first; what they hold is kept."""
    _, cluster = session.recorded(services, name)
    with session.working(services, cluster) as ctx:
        _must_power(ctx)

        def halt(node: Node) -> None:
            services.reporter.emit(NodeProgress(node=node.name, activity="stopping"))
            ctx.provider.stop(name, node.name)
            services.reporter.emit(
                NodeProgress(node=node.name, activity="stopped", status=Status.OK)
            )

        with STOP_NODES.running(services):
            parallel.each(cluster.workers, halt)
            parallel.each(cluster.control_planes, halt)
    return _result(cluster)


def _result(cluster: Cluster) -> PowerResult:
    return PowerResult(cluster=cluster.name, nodes=tuple(node.name for node in cluster.nodes))


def _must_power(ctx: Context) -> None:
    if not ctx.provider.capabilities.powers:
        raise PrerequisiteError(
            f"provider {ctx.provider.name} does not start or stop machines",
            why="its machines are not ours",
            hint="start or stop the hosts by their own means",
            id="OMK-P-016",
        )
