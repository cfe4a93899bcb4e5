"""Reach the nodes of a cluster that exists, each for itself: one that is down stops no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError, OhmykubeError, UnreachableError
from ohmykube.kit import failures, parallel
from ohmykube.model.machine import MachineState
from ohmykube.providers import ssh_config
from ohmykube.state import layout
from ohmykube.steps.remote import NodeShell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.steps.base import Run

ANSWER_SECONDS = 15
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "amd64": "amd64"}


class Reach:
    """Opens ssh to the chosen nodes and asks for their architecture."""

    name = "reach"
    title = "Reach the nodes"

    def __init__(self, nodes: Sequence[str]) -> None:
        self.nodes = tuple(nodes)
        self.architectures: dict[str, str] = {}
        """By node, ``amd64`` or ``arm64``; of those that answer."""
        self.shells: dict[str, NodeShell] = {}
        """By node; of those that answer."""
        self.lost: dict[str, OhmykubeError] = {}
        """Why the others do not answer."""

    def run(self, run: Run) -> str:
        """Fill ``architectures``, ``shells`` and ``lost``; raises when no node answers at all."""
        run.machines = {machine.node: machine for machine in run.provider.list(run.cluster.name)}
        path = run.directory / layout.SSH_CONFIG
        if not path.exists():
            raise NotFoundError(
                f'the nodes of cluster "{run.cluster.name}" were never reached',
                hint=f"ohmykube up --name {run.cluster.name}",
                id="OMK-V-502",
            )
        run.ssh_config = path
        parallel.each(self.nodes, lambda node: self._one(run, node))
        if not self.shells and self.lost:
            raise failures.first([self.lost[node] for node in self.nodes])
        return f"{len(self.shells)} of {len(self.nodes)} answer"

    def _one(self, run: Run, node: str) -> None:
        try:
            self.architectures[node] = self._ask(run, node)
        except OhmykubeError as error:
            self.lost[node] = error

    def _ask(self, run: Run, node: str) -> str:
        machine = run.machines.get(node)
        if machine is None or machine.state is not MachineState.RUNNING or machine.ssh is None:
            state = "not there" if machine is None else machine.state.value
            raise UnreachableError(
                f"node {node} is {state}", hint=f"ohmykube start {run.cluster.name}", id="OMK-V-501"
            )
        path = run.need_ssh_config()
        ssh_config.probe(path, node, timeout=ANSWER_SECONDS * run.slowdown)
        shell = NodeShell(path, node, become=machine.ssh.become, slowdown=run.slowdown)
        told = shell(["uname", "-m"]).strip()
        self.shells[node] = shell
        return _ARCHITECTURES.get(told, told)
