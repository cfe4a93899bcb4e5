"""Wait until every node is Ready and the cluster's DNS answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import ClusterError, OhmykubeError, TimeoutExceeded
from ohmykube.kit import retry
from ohmykube.kube import readiness
from ohmykube.progress import NodeProgress, Status
from ohmykube.steps.fetch_kubeconfig import shell_of

if TYPE_CHECKING:
    from ohmykube.steps.base import Run


class WaitReady:
    """The last word on whether ``up`` has succeeded."""

    name = "wait-ready"
    title = "Wait for nodes and DNS"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, run: Run) -> str:
        """Raise ClusterError naming what is not ready and why."""
        remote = shell_of(run, run.cluster.control_planes[0].name)
        wanted = {node.name for node in run.cluster.nodes}
        seen: dict[str, str] = {}
        pressed: dict[str, str] = {}
        reporter = run.services.reporter

        def not_ready() -> dict[str, str]:
            try:
                found = {node.name: node for node in readiness.nodes(remote)}
            except OhmykubeError as error:
                return dict.fromkeys(wanted, error.why or error.message)
            pressed.update({name: node.pressure for name, node in found.items()})
            reasons = {}
            for name in sorted(wanted):
                node = found.get(name)
                reason = node.reason if node else "has not joined"
                if node and node.ready:
                    if seen.get(name) != "":
                        event = NodeProgress(node=name, activity="Ready", status=Status.OK)
                        reporter.emit(event)
                    seen[name] = ""
                else:
                    reasons[name] = seen[name] = reason
                    reporter.emit(NodeProgress(node=name, activity="not Ready yet"))
            return reasons

        left: dict[str, str] = {}

        def probe() -> bool | None:
            nonlocal left
            left = not_ready()
            return None if left else True

        wait = retry.Wait(seconds=self.seconds, every=0.3, factor=1.2, longest=1.0)
        try:
            # Without a pod network nodes stay NotReady, by kubelet's own rule.
            if run.cluster.network.cni == "none":
                not_ready()
                return "no pod network was asked for: nodes become Ready once you install one"
            retry.until(run.services.clock, wait, "the nodes to be Ready", probe)
            self._wait_dns(run, remote, wait)
        except TimeoutExceeded as error:
            left = not_ready()
            short = {name: what for name, what in pressed.items() if what}
            reasons = [f"{name}: {reason}" for name, reason in {**short, **left}.items()]
            raise ClusterError(
                f'cluster "{run.cluster.name}" is not healthy after {self.seconds:g} s',
                why="\n".join(reasons) or error.message,
                hint="ohmykube status, then ohmykube up to go on",
                id="OMK-K-102",
            ) from error
        return f"{len(wanted)} Ready, DNS answers"

    @staticmethod
    def _wait_dns(run: Run, remote: readiness.Remote, wait: retry.Wait) -> None:
        network = run.cluster.network

        def probe() -> bool | None:
            return readiness.dns_answers(remote, network.service_cidr, network.dns_domain) or None

        retry.until(run.services.clock, wait, "the cluster's DNS", probe)
