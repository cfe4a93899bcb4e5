"""Wait until every node is Ready and the cluster's DNS answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import ClusterError, OhmykubeError, TimeoutExceeded
from ohmykube.kit import retry
from ohmykube.kube import readiness
from ohmykube.model.cluster import NO_CNI
from ohmykube.progress import NodeProgress, Status
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from ohmykube.kube.api import ClusterApi
    from ohmykube.model.node_state import NodeState
    from ohmykube.steps.context import Context


WAIT_READY = Step("wait-ready", "Wait for nodes and DNS")


def wait_ready(ctx: Context, api: ClusterApi, seconds: float | None, *, usual: float) -> None:
    """Return once all nodes are Ready: the last word on whether ``up`` has succeeded.

    Args:
        ctx: whose cluster.
        api: its API.
        seconds: how long it may take; None for what is usual, and more where machines are slow.
        usual: seconds that are enough for machines of common speed.

    Raises:
        ClusterError: names what is not ready and why.
    """
    with WAIT_READY.running(ctx.services) as result:
        result.detail = _waited(ctx, api, seconds, usual)


def is_healthy(ctx: Context, state: NodeState) -> bool:
    """Tell whether what a control plane has just said leaves nothing to be waited for."""
    ready = {node.name for node in state.nodes or () if node.ready}
    return all(node.name in ready for node in ctx.cluster.nodes) and state.dns_answers


def tell_healthy(ctx: Context) -> None:
    """Tell what ``wait_ready`` tells, of a cluster that is healthy."""
    with WAIT_READY.running(ctx.services) as result:
        result.detail = _healthy(ctx)


def _healthy(ctx: Context) -> str:
    return f"{len(ctx.cluster.nodes)} Ready, DNS answers"


def _waited(ctx: Context, api: ClusterApi, seconds: float | None, usual: float) -> str:
    conditions = _Conditions(ctx, api)
    wait = retry.Wait(seconds=usual, every=0.3, factor=1.2, longest=1.0).times(ctx.slowdown)
    seconds = seconds or wait.seconds
    wait = replace(wait, seconds=seconds)
    try:
        # Without a pod network nodes stay NotReady, by kubelet's own rule.
        if ctx.cluster.network.cni == NO_CNI:
            conditions.look()
            return "no pod network was asked for: nodes become Ready once you install one"
        retry.until(ctx.services.clock, wait, "the nodes to be Ready", conditions.are_ready)
        _wait_dns(ctx, api, wait)
    except TimeoutExceeded as error:
        # Once more: a node that is Ready may have run short of something since.
        left = conditions.look()
        reasons = {**conditions.pressures, **left}
        raise ClusterError(
            f'cluster "{ctx.cluster.name}" is not healthy after {seconds:g} s',
            why="\n".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
            or error.message,
            hint="ohmykube status, then ohmykube up to go on",
            id="OMK-K-102",
        ) from error
    return _healthy(ctx)


class _Conditions:
    """The nodes as the API server sees them, told to the reporter as they change."""

    def __init__(self, ctx: Context, api: ClusterApi) -> None:
        self._reporter = ctx.services.reporter
        self._api = api
        self._ready: set[str] = set()
        self.wanted = sorted(node.name for node in ctx.cluster.nodes)
        self.pressures: dict[str, str] = {}
        """What nodes ran short of when last looked at."""

    def are_ready(self) -> bool | None:
        """Return True once all are, else None."""
        return None if self.look() else True

    def look(self) -> dict[str, str]:
        """Return why nodes are not ready, by name; empty when all are."""
        try:
            found = {node.name: node for node in readiness.nodes(self._api)}
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


def _wait_dns(ctx: Context, api: ClusterApi, wait: retry.Wait) -> None:
    network = ctx.cluster.network

    def probe() -> bool | None:
        return readiness.dns_answers(api, network.service_cidr, network.dns_domain) or None

    retry.until(ctx.services.clock, wait, "the cluster's DNS", probe)
