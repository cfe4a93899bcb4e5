"""Ask the nodes of a cluster that exists, each for itself: one that is down stops no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError, OhmykubeError, UnreachableError
from ohmykube.kit import architecture, failures, parallel
from ohmykube.model.machine import MachineState, running, state_of
from ohmykube.providers import ssh_config
from ohmykube.state import layout
from ohmykube.steps.node_shell import NodeShell
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ohmykube.model.machine import Machine, SshTarget
    from ohmykube.steps.context import Context

ANSWER_SECONDS = 15
PROBE_NODES = Step("probe-nodes", "Reach the nodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a node that answers has told."""

    shell: NodeShell
    arch: str
    """``amd64`` or ``arm64``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """Which of the nodes that were asked answer."""

    ssh_config: Path
    nodes: tuple[str, ...]
    """All that were asked, in their order."""
    answers: Mapping[str, Answer]
    """By node; of those that answer."""
    lost: Mapping[str, OhmykubeError]
    """Why the others do not."""

    @property
    def architectures(self) -> frozenset[str]:
        """Return those of the nodes that answer."""
        return frozenset(answer.arch for answer in self.answers.values())


def probe_nodes(ctx: Context, nodes: Sequence[str]) -> Probed:
    """Open ssh to nodes and ask for their architecture.

    Raises:
        NotFoundError: no node was ever reached.
        UnreachableError, NodeError: none of them answers.
    """
    with PROBE_NODES.running(ctx.services) as result:
        machines = {machine.node: machine for machine in ctx.provider.list(ctx.cluster.name)}
        path = ctx.directory / layout.SSH_CONFIG
        if not path.exists():
            raise NotFoundError(
                f'the nodes of cluster "{ctx.cluster.name}" were never reached',
                hint=f"ohmykube up --name {ctx.cluster.name}",
                id="OMK-V-502",
            )

        def one(node: str) -> Answer | OhmykubeError:
            try:
                return _ask(ctx, path, node, machines.get(node))
            except OhmykubeError as error:
                return error

        told = dict(zip(nodes, parallel.each(nodes, one), strict=True))
        answers = {node: one for node, one in told.items() if isinstance(one, Answer)}
        lost = {node: one for node, one in told.items() if isinstance(one, OhmykubeError)}
        if lost and not answers:
            raise failures.first(list(lost.values()))
        result.detail = f"{len(answers)} of {len(nodes)} answer"
    return Probed(ssh_config=path, nodes=tuple(nodes), answers=answers, lost=lost)


def must_run(cluster: str, node: str, machine: Machine | None) -> SshTarget:
    """Return how a node is reached whose machine runs.

    Raises:
        UnreachableError: it does not run; the hint is what makes it run.
    """
    if machine is not None and running(machine) and machine.ssh is not None:
        return machine.ssh
    starts = machine is not None and machine.state is MachineState.STOPPED
    raise UnreachableError(
        f"node {node} is {state_of(machine)}",
        why=(machine.problem if machine is not None else "") or None,
        hint=f"ohmykube start {cluster}" if starts else f"ohmykube up --name {cluster}",
        id="OMK-V-501",
    )


def _ask(ctx: Context, path: Path, node: str, machine: Machine | None) -> Answer:
    become = must_run(ctx.cluster.name, node, machine).become
    ssh_config.probe(path, node, timeout=ANSWER_SECONDS * ctx.slowdown)
    shell = NodeShell(path, node, become=become, slowdown=ctx.slowdown)
    told = shell(["uname", "-m"]).strip()
    return Answer(shell=shell, arch=architecture.go_name(told))
