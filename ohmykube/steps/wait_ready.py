"""Wait until every node is Ready and reaches the cluster's DNS and the pods of the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import ClusterError, TimeoutExceeded
from ohmykube.kit import retry
from ohmykube.kube import node_state
from ohmykube.model.machine import running
from ohmykube.model.networks import parsed
from ohmykube.model.node_state import answering, api_nodes
from ohmykube.progress import NodeProgress, Status
from ohmykube.steps.observe import ask
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.model.cluster import Cluster
    from ohmykube.model.node_state import ApiNode, NodeState
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes


PULLING = "its images are still pulled"
WAIT_READY = Step("wait-ready", "Wait for nodes and DNS")


def wait_ready(
    ctx: Context, nodes: Nodes, seconds: float | None, *, usual: float
) -> Mapping[str, NodeState]:
    """Return once all nodes are Ready and DNS answers each: the last word on whether all went well.

    Args:
        ctx: whose cluster.
        nodes: the way to all of its nodes.
        seconds: how long it may take; None for what is usual, and more where machines are slow.
        usual: seconds that are enough for machines of common speed.

    Returns:
        What each node has said last, without its differences from its record.

    Raises:
        ClusterError: names what is not ready and why.
    """
    health = _Health(ctx, nodes)
    with WAIT_READY.running(ctx.services) as result:
        result.detail = _waited(ctx, health, seconds, usual)
    return health.answers


def lacking(cluster: Cluster, answers: Mapping[str, NodeState]) -> dict[str, str]:
    """Return why nodes are not healthy, by what they have said; empty when all are.

    A node is healthy when the API has it as Ready, the cluster's DNS answers it, wherever the pods
    that answer are, and its packets reach the pod network of each other node that is Ready. While
    its images are pulled it is not: the mirrors they come from end with `up`.

    Args:
        cluster: its nodes are judged.
        answers: one control plane that answered among them.
    """
    found = api_nodes(answers) or {}
    reasons = {}
    for node in cluster.nodes:
        seen, answer = found.get(node.name), answers.get(node.name)
        if seen is None:
            reasons[node.name] = "has not joined"
        elif not seen.ready:
            reasons[node.name] = seen.reason
        elif node_state.asks_dns(cluster.network) and (answer is None or not answer.dns_answers):
            reasons[node.name] = "the cluster's DNS does not answer it"
        elif answer is not None and (far := _out_of_reach(cluster, node.name, found, answer)):
            reasons[node.name] = f"it does not reach the pods of {', '.join(far)}"
        elif answer is not None and answer.pulling:
            reasons[node.name] = PULLING
    return reasons


def _out_of_reach(
    cluster: Cluster, name: str, found: Mapping[str, ApiNode], answer: NodeState
) -> list[str]:
    """Return the other nodes whose pods do not answer a node."""
    if not node_state.has_overlay(cluster.network):
        return []
    others = [found[node.name] for node in cluster.nodes if node.name in found]
    return [
        other.name
        for other in others
        if other.name != name and other.ready and other.pod_network
        if not {str(one[0]) for one in parsed(other.pod_network)} <= answer.reached
    ]


def tell_healthy(ctx: Context) -> None:
    """Tell what ``wait_ready`` tells, of a cluster that is healthy."""
    with WAIT_READY.running(ctx.services) as result:
        result.detail = _healthy(ctx)


def _healthy(ctx: Context) -> str:
    return f"{len(ctx.cluster.nodes)} Ready, DNS answers"


def _waited(ctx: Context, health: _Health, seconds: float | None, usual: float) -> str:
    wait = retry.Wait(seconds=usual, every=0.2, factor=1.2, longest=0.6).times(ctx.slowdown)
    seconds = seconds or wait.seconds
    wait = replace(wait, seconds=seconds)
    # Without a pod network nodes stay NotReady, by kubelet's own rule.
    alone = not node_state.asks_dns(ctx.cluster.network)
    enough = health.has_images if alone else health.is_whole
    try:
        retry.until(ctx.services.clock, wait, "the nodes to be Ready", enough)
    except TimeoutExceeded as error:
        # A node that is Ready may have run short of something.
        reasons = health.pulling() if alone else health.pressures() | health.reasons
        raise ClusterError(
            f'cluster "{ctx.cluster.name}" is not healthy after {seconds:g} s',
            why="\n".join(f"{name}: {reason}" for name, reason in sorted(reasons.items())),
            hint="ohmykube status, then `ohmykube up` to go on",
            id="OMK-K-102",
        ) from error
    if alone:
        return "no pod network was asked for: nodes become Ready once you install one"
    return _healthy(ctx)


class _Health:
    """The nodes as they and the API server see them, told to the reporter as they change."""

    def __init__(self, ctx: Context, nodes: Nodes) -> None:
        self._ctx = ctx
        self._nodes = nodes
        self.answers: dict[str, NodeState] = {}
        self.reasons = {node.name: "was not asked" for node in ctx.cluster.nodes}
        """Why nodes are not healthy, by name."""

    def is_whole(self) -> bool | None:
        """Return True once all nodes are healthy, else None."""
        self.look()
        return None if self.reasons else True

    def has_images(self) -> bool | None:
        """Return True once no node pulls images any more, else None."""
        self.look()
        return None if self.pulling() else True

    def pulling(self) -> dict[str, str]:
        """Return who still pulls images, by name."""
        return {name: PULLING for name, answer in self.answers.items() if answer.pulling}

    def look(self) -> None:
        """Ask those that were not healthy, and a control plane for what the API knows."""
        names = self.reasons.keys() | self._control_planes()
        up = [name for name in names if running(self._nodes.machines.get(name))]
        answers, problems = ask(self._ctx, self._nodes, sorted(up), differences=False)
        # What the API had when a node was asked before may be so no more.
        kept = {n: replace(one, nodes=None) for n, one in self.answers.items() if n not in names}
        self.answers = kept | answers
        reasons = lacking(self._ctx.cluster, self.answers)
        if not answering(self.answers):
            planes = [node.name for node in self._ctx.cluster.control_planes]
            silent = {n: answers[n].api_problem for n in planes if n in answers}
            reasons = dict.fromkeys(reasons, "the API server does not answer")
            reasons |= {name: f"its API server: {why}" for name, why in silent.items()}
        reasons |= {name: why for name, why in problems.items() if name in reasons}
        self._tell(reasons)
        self.reasons = reasons

    def pressures(self) -> dict[str, str]:
        """Return what nodes run short of, by name."""
        found = api_nodes(self.answers) or {}
        return {name: node.pressure for name, node in found.items() if node.pressure}

    def _control_planes(self) -> set[str]:
        """Return the control plane that answered, or all of them when none did."""
        name = answering(self.answers)
        return {name} if name else {node.name for node in self._ctx.cluster.control_planes}

    def _tell(self, reasons: Mapping[str, str]) -> None:
        emit = self._ctx.services.reporter.emit
        for name in reasons:
            emit(NodeProgress(node=name, activity="not Ready yet"))
        for name in sorted(self.reasons.keys() - reasons.keys()):
            emit(NodeProgress(node=name, activity="Ready", status=Status.OK))
