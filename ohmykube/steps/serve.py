"""Serve the cluster's artifacts to its nodes: one read-only server, one tunnel to each node."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from ohmykube.cache.serve import Server
from ohmykube.cache.store import Store
from ohmykube.kit import files
from ohmykube.kit.secret import Secret
from ohmykube.steps.tunnel import ENDPOINT, NODE_PORT, OPEN, Tunnel

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.steps.base import Run

__all__ = ["ENDPOINT", "NODE_PORT", "Serve", "token"]


class Serve:
    """The server and the tunnels end with the run."""

    name = "serve"
    title = "Open the cache to the nodes"

    def run(self, run: Run) -> str:
        """Raise UnreachableError when a node refuses the tunnel."""
        secret = token(run.directory)
        server = run.cleanup.enter_context(
            Server(Store(run.services.paths.cache), run.need_lock(), secret)
        )
        run.server, run.cache_token = server, secret
        tunnels = []
        for node in run.cluster.nodes:
            log_file = run.run_directory / f"tunnel-{node.name}.log"
            tunnel = Tunnel(run.need_ssh_config(), node.name, server.port, log_file)
            run.cleanup.callback(tunnel.close)
            tunnels.append(tunnel)
        for tunnel in tunnels:
            tunnel.wait(run.services.clock, OPEN.times(run.slowdown))
        return f"{len(tunnels)} tunnels"


def token(directory: Path) -> Secret:
    """Return the bearer token of the cluster whose state is in ``directory``, made when needed."""
    # One token for the cluster's life: a new one each run would change hosts.toml on every node.
    path = directory / "cache-token"
    if not path.exists():
        files.write(path, secrets.token_urlsafe(24))
    return Secret(path.read_text().strip())
