"""Hand the kubeconfig over to this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.kit import files, process
from ohmykube.kube import kubeconfig, readiness
from ohmykube.progress import Message
from ohmykube.state import layout
from ohmykube.steps.remote import NodeShell

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.kit.sudo_user import Invoker
    from ohmykube.model.machine import Machine
    from ohmykube.steps.base import Run

API_PORT = 6443


def shell_of(run: Run, node: str) -> NodeShell:
    """Return a shell on a node of the run, as root."""
    machine = run.need_machine(node)
    become = machine.ssh is not None and machine.ssh.become
    return NodeShell(run.need_ssh_config(), node, become=become, slowdown=run.slowdown)


class FetchKubeconfig:
    """Writes ``kubeconfig`` (0600) into the cluster's state directory."""

    name = "kubeconfig"
    title = "Fetch the kubeconfig"

    def run(self, run: Run) -> str:
        """The server address is the one by which this host reaches the API server."""
        first = run.cluster.control_planes[0]
        machine: Machine = run.need_machine(first.name)
        text = shell_of(run, first.name)(["cat", readiness.ADMIN])
        host, port = run.provider.api_endpoint(run.cluster.name, machine.address, API_PORT)
        path = run.directory / layout.KUBECONFIG
        ours = kubeconfig.rename(text, run.cluster.name, host, port)
        files.write(path, ours)
        run.kubeconfig = self._for_the_user(run, ours) or path
        return f"https://{host}:{port}"

    @staticmethod
    def _for_the_user(run: Run, text: str) -> Path | None:
        """Give the user behind sudo a copy that he can read; return its path."""
        invoker = run.services.invoker
        if invoker is None:
            return None
        path = users_copy(invoker, run.cluster.name)
        try:
            invoker.write(path, text)
        except process.CommandFailed as error:
            text = f"no kubeconfig could be written to {path}: {error.why or error.message}"
            run.services.reporter.emit(Message(text=text, level="warning"))
            return None
        return path


def users_copy(invoker: Invoker, cluster: str) -> Path:
    """Return where the user behind sudo finds the kubeconfig of a cluster."""
    return invoker.home / ".kube" / f"{kubeconfig.context_name(cluster)}.yaml"
