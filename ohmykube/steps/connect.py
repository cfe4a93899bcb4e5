"""Write the ssh client configuration and wait until every node answers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ohmykube.errors import TimeoutExceeded, UnreachableError
from ohmykube.kit import files, parallel, process, retry
from ohmykube.providers import ssh_config
from ohmykube.state import layout

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.steps.base import Run

ANSWER = retry.Wait(seconds=60, every=0.15, factor=1.3, longest=2)
PROBE_SECONDS = 10


class Connect:
    """All ssh of a run goes by this one file."""

    name = "connect"
    title = "Reach the nodes by ssh"

    def run(self, run: Run) -> str:
        """Raise UnreachableError for a node that does not answer in time."""
        wanted = [run.need_machine(node.name) for node in run.cluster.nodes]
        # Nodes that are left alone stay within reach; nobody waits for them.
        others = [m for m in run.machines.values() if m not in wanted]
        targets = {m.node: m.ssh for m in (*wanted, *others) if m.ssh is not None}
        path = run.directory / layout.SSH_CONFIG
        control = layout.control_directory(run.directory)
        files.write(path, ssh_config.render(targets, control, slowdown=run.slowdown))
        run.ssh_config = path
        nodes = [machine.node for machine in wanted if machine.ssh is not None]
        parallel.each(nodes, lambda node: self._wait(run, path, node))
        return f"{len(nodes)} answer"

    @staticmethod
    def _wait(run: Run, path: Path, node: str) -> None:
        last: list[UnreachableError] = []

        def probe() -> bool | None:
            try:
                ssh_config.probe(path, node, timeout=PROBE_SECONDS * run.slowdown)
            except UnreachableError as error:
                if error.id == ssh_config.REFUSED:
                    raise  # waiting does not make a key welcome
                last.append(error)
                return None
            return True

        try:
            wait = ANSWER.times(run.slowdown)
            retry.until(run.services.clock, wait, f"ssh of {node}", probe)
        except TimeoutExceeded:
            if last:
                raise last[-1] from None
            raise


def disconnect(directory: Path) -> None:
    """End the shared connections of a cluster; without effect when there are none.

    A connection into a node's network namespace keeps that namespace alive.
    """
    path = directory / layout.SSH_CONFIG
    if not path.exists():
        return
    for socket in layout.control_directory(directory).iterdir():
        argv = ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "node"]
        # One that hangs is dead already: its node is about to go, and it ends by itself then.
        with contextlib.suppress(process.CommandFailed):
            process.run(argv, timeout=5, check=False)
