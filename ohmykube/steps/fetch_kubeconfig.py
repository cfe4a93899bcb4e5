"""Hand the kubeconfig over to this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import ClusterError, TimeoutExceeded
from ohmykube.kit import files, process, retry
from ohmykube.kube import kubeconfig
from ohmykube.kube.api import ADMIN
from ohmykube.model.networks import host_port
from ohmykube.progress import Message
from ohmykube.state import layout
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.kit.sudo_user import SudoUser
    from ohmykube.kube.api import ClusterApi
    from ohmykube.model.machine import Machine
    from ohmykube.model.node_state import NodeState
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

API_PORT = 6443
ANSWER = retry.Wait(seconds=120, every=0.3, factor=1.3, longest=2)
"""For API servers of machines that have just been started."""
FETCH_KUBECONFIG = Step("fetch-kubeconfig", "Fetch the kubeconfig")


def fetch_kubeconfig(ctx: Context, nodes: Nodes, api: ClusterApi) -> Path:
    """Write ``kubeconfig`` (0600) into the cluster's state directory; return the path for the user.

    It comes from a control plane that answers; the server address is the one by which this host
    reaches the API server of that one.

    Raises:
        ClusterError: no control plane answers in time.
        NodeError: the control plane does not hand it over.
    """
    with FETCH_KUBECONFIG.running(ctx.services) as result:
        _wait(ctx, api)
        text = api.run(["cat", ADMIN])
        path, result.detail = _keep(ctx, nodes.machines[api.control_plane], text)
    return path


def keep_kubeconfig(ctx: Context, machine: Machine, state: NodeState) -> Path:
    """Do the same with what a control plane, whose machine it is, has just told."""
    with FETCH_KUBECONFIG.running(ctx.services) as result:
        path, result.detail = _keep(ctx, machine, state.admin.reveal())
    return path


def _keep(ctx: Context, machine: Machine, text: str) -> tuple[Path, str]:
    """Write the kubeconfig; return the path for the user, and the server's URL."""
    host, port = ctx.provider.api_endpoint(ctx.cluster.name, machine.address, API_PORT)
    path = ctx.directory / layout.KUBECONFIG
    ours = kubeconfig.rename(text, ctx.cluster.name, host, port)
    files.write(path, ours)
    return _for_the_user(ctx, ours) or path, f"https://{host_port(host, port)}"


def _wait(ctx: Context, api: ClusterApi) -> None:
    last: list[ClusterError] = []

    def probe() -> str | None:
        try:
            return api.control_plane
        except ClusterError as error:
            last.append(error)
            return None

    try:
        wait = ANSWER.times(ctx.slowdown)
        retry.until(ctx.services.clock, wait, "a control plane to answer", probe)
    except TimeoutExceeded as error:
        raise last[-1] from error


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
