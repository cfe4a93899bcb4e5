"""``start`` and ``stop`` of a whole cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.errors import PrerequisiteError
from ohmykube.kit import parallel
from ohmykube.progress import NodeProgress, Status
from ohmykube.steps import engine
from ohmykube.steps.connect import Connect
from ohmykube.steps.fetch_kubeconfig import FetchKubeconfig
from ohmykube.steps.publish import Publish
from ohmykube.steps.wait_ready import WaitReady
from ohmykube.workflows import session

if TYPE_CHECKING:
    from ohmykube.steps.base import Run, Services

WAIT_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerResult:
    """Which nodes were started or stopped."""

    cluster: str
    nodes: tuple[str, ...]


def start(services: Services, name: str) -> PowerResult:
    """Start all machines of a cluster and wait until it is healthy again.

    Also brings a cluster back after its host was rebooted.
    """
    _, cluster = session.recorded(services, name)
    with session.working(services, cluster) as run:
        _must_power(run)
        nodes = [node.name for node in cluster.nodes]

        def begin(node: str) -> None:
            services.reporter.emit(NodeProgress(node=node, activity="starting"))
            run.provider.start(name, node)
            services.reporter.emit(NodeProgress(node=node, activity="started", status=Status.OK))

        parallel.each(nodes, begin)
        run.machines = {m.node: m for m in run.provider.list(name)}
        wait = WaitReady(None, WAIT_SECONDS)
        engine.execute((Connect(), FetchKubeconfig(), wait, Publish()), run)
    return PowerResult(cluster=name, nodes=tuple(nodes))


def stop(services: Services, name: str) -> PowerResult:
    """Stop all machines of a cluster, workers first; what they hold is kept."""
    _, cluster = session.recorded(services, name)
    with session.working(services, cluster) as run:
        _must_power(run)

        def halt(node: str) -> None:
            services.reporter.emit(NodeProgress(node=node, activity="stopping"))
            run.provider.stop(name, node)
            services.reporter.emit(NodeProgress(node=node, activity="stopped", status=Status.OK))

        for group in (cluster.workers, cluster.control_planes):
            parallel.each([node.name for node in group], halt)
    return PowerResult(cluster=name, nodes=tuple(node.name for node in cluster.nodes))


def _must_power(run: Run) -> None:
    if not run.provider.capabilities.powers:
        raise PrerequisiteError(
            f"provider {run.provider.name} does not start or stop machines",
            why="its machines are not ours",
            hint="start or stop the hosts by their own means",
            id="OMK-P-016",
        )
