"""Hand the kubeconfig over to this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.kit import files, process
from ohmykube.kube import kubeconfig, readiness
from ohmykube.progress import Message
from ohmykube.state import layout
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.kit.sudo_user import SudoUser
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

API_PORT = 6443
FETCH_KUBECONFIG = Step("fetch-kubeconfig", "Fetch the kubeconfig")


def fetch_kubeconfig(ctx: Context, nodes: Nodes) -> Path:
    """Write ``kubeconfig`` (0600) into the cluster's state directory; return the path for the user.

    The server address is the one by which this host reaches the API server.

    Raises:
        NodeError: the control plane does not hand it over.
    """
    with FETCH_KUBECONFIG.running(ctx.services) as result:
        first = ctx.cluster.control_planes[0].name
        text = nodes.shell(first)(["cat", readiness.ADMIN])
        address = nodes.machines[first].address
        host, port = ctx.provider.api_endpoint(ctx.cluster.name, address, API_PORT)
        path = ctx.directory / layout.KUBECONFIG
        ours = kubeconfig.rename(text, ctx.cluster.name, host, port)
        files.write(path, ours)
        result.detail = f"https://{host}:{port}"
        return _for_the_user(ctx, ours) or path


def _for_the_user(ctx: Context, text: str) -> Path | None:
    """Give the user behind sudo a copy that he can read; return its path."""
    sudo_user = ctx.services.sudo_user
    if sudo_user is None:
        return None
    path = users_copy(sudo_user, ctx.cluster.name)
    try:
        sudo_user.write(path, text)
    except process.CommandFailed as error:
        text = f"no kubeconfig could be written to {path}: {error.why or error.message}"
        ctx.services.reporter.emit(Message(text=text, level="warning"))
        return None
    return path


def users_copy(sudo_user: SudoUser, cluster: str) -> Path:
    """Return where the user behind sudo finds the kubeconfig of a cluster."""
    return sudo_user.home / ".kube" / f"{kubeconfig.context_name(cluster)}.yaml"
