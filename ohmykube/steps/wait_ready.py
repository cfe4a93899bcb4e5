"""Wait until every node is Ready and the cluster's DNS answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import ClusterError, OhmykubeError, TimeoutExceeded
from ohmykube.kit import retry
from ohmykube.kube import readiness
from ohmykube.progress import NodeProgress, Status
from ohmykube.steps.fetch_kubeconfig import shell_of

if TYPE_CHECKING:
    from ohmykube.steps.base import Run


class WaitReady:
    """The last word on whether ``up`` has succeeded.

    Args:
        seconds: how long it may take; None for what is usual, and more where machines are slow.
        usual: seconds that are enough for machines of common speed.
    """

    name = "wait-ready"
    title = "Wait for nodes and DNS"

    def __init__(self, seconds: float | None, usual: float) -> None:
        self._seconds = seconds
        self._usual = usual

    def run(self, run: Run) -> str:
        """Raise ClusterError naming what is not ready and why."""
        remote = shell_of(run, run.cluster.control_planes[0].name)
        nodes = _Nodes(run, remote)
        wait = retry.Wait(seconds=self._usual, every=0.3, factor=1.2, longest=1.0)
        wait = wait.times(run.slowdown)
        seconds = self._seconds or wait.seconds
        wait = replace(wait, seconds=seconds)
        try:
            # Without a pod network nodes stay NotReady, by kubelet's own rule.
            if run.cluster.network.cni == "none":
                nodes.look()
                return "no pod network was asked for: nodes become Ready once you install one"
            retry.until(run.services.clock, wait, "the nodes to be Ready", nodes.are_ready)
            _wait_dns(run, remote, wait)
        except TimeoutExceeded as error:
            # Once more: a node that is Ready may have run short of something since.
            left = nodes.look()
            reasons = {**nodes.pressures, **left}
            raise ClusterError(
                f'cluster "{run.cluster.name}" is not healthy after {seconds:g} s',
                why="\n".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
                or error.message,
                hint="ohmykube status, then ohmykube up to go on",
                id="OMK-K-102",
            ) from error
        return f"{len(nodes.wanted)} Ready, DNS answers"


class _Nodes:
    """The nodes as the API server sees them, told to the reporter as they change."""

    def __init__(self, run: Run, remote: readiness.Remote) -> None:
        self._reporter = run.services.reporter
        self._remote = remote
        self._slowdown = run.slowdown
        self._ready: set[str] = set()
        self.wanted = sorted(node.name for node in run.cluster.nodes)
        self.pressures: dict[str, str] = {}
        """What nodes ran short of when last looked at."""

    def are_ready(self) -> bool | None:
        """Return True once all are, else None."""
        return None if self.look() else True

    def look(self) -> dict[str, str]:
        """Return why nodes are not ready, by name; empty when all are."""
        try:
            nodes = readiness.nodes(self._remote, slowdown=self._slowdown)
            found = {node.name: node for node in nodes}
        except OhmykubeError as error:
            return dict.fromkeys(self.wanted, error.why or error.message)
        self.pressures = {name: node.pressure for name, node in found.items() if node.pressure}
        reasons = {}
        for name in self.wanted:
            node = found.get(name)
            if node is None or not node.ready:
                reasons[name] = node.reason if node else "has not joined"
                self._reporter.emit(NodeProgress(node=name, activity="not Ready yet"))
                self._ready.discard(name)
            elif name not in self._ready:
                self._reporter.emit(NodeProgress(node=name, activity="Ready", status=Status.OK))
                self._ready.add(name)
        return reasons


def _wait_dns(run: Run, remote: readiness.Remote, wait: retry.Wait) -> None:
    network = run.cluster.network

    def probe() -> bool | None:
        return readiness.dns_answers(remote, network.service_cidr, network.dns_domain) or None

    retry.until(run.services.clock, wait, "the cluster's DNS", probe)
