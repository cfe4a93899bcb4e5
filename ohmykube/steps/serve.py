"""Serve the cluster's artifacts to its nodes: one read-only server, one tunnel to each node."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.cache.serve import Server
from ohmykube.cache.store import Store
from ohmykube.kit import amounts, failures, files
from ohmykube.kit.secret import Secret
from ohmykube.planning.scope import nodes_in
from ohmykube.state import layout
from ohmykube.steps.step import Step
from ohmykube.steps.tunnel import OPEN, Tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.planning.scope import Scope
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

SERVE = Step("serve", "Open the cache to the nodes")


@dataclass(frozen=True, slots=True)
class Served:
    """The cache as the nodes see it."""

    server: Server
    token: Secret


@contextlib.contextmanager
def serve(ctx: Context, nodes: Nodes, lock: ArtifactLock, scope: Scope = None) -> Iterator[Served]:
    """Serve artifacts to the nodes of a cluster while the block runs.

    Args:
        ctx: whose cluster.
        nodes: the way to its nodes.
        lock: what is served.
        scope: the nodes that get a tunnel.

    Raises:
        UnreachableError: a node refuses the tunnel.
    """
    opened = contextlib.ExitStack()
    with failures.closing(opened.close):
        with SERVE.running(ctx.services) as result:
            secret = token(ctx.directory)
            server = opened.enter_context(Server(Store(ctx.services.paths.cache), lock, secret))
            tunnels = []
            for node in nodes_in(ctx.cluster, scope):
                log_file = ctx.run_directory / layout.TUNNEL_LOG.format(node=node.name)
                tunnel = Tunnel(nodes.ssh_config, node.name, server.port, log_file)
                opened.callback(tunnel.close)
                tunnels.append(tunnel)
            for tunnel in tunnels:
                tunnel.wait(ctx.services.clock, OPEN.times(ctx.slowdown))
            result.detail = amounts.count(len(tunnels), "tunnel")
        yield Served(server, secret)


def token(directory: Path) -> Secret:
    """Return the bearer token of the cluster whose state is in ``directory``, made when needed."""
    # One token for the cluster's life: a new one each run would change hosts.toml on every node.
    path = directory / layout.CACHE_TOKEN
    if not path.exists():
        files.write(path, secrets.token_urlsafe(24))
    return token_of(directory)


def token_of(directory: Path) -> Secret:
    """Return the same; an empty one where none was made yet."""
    path = directory / layout.CACHE_TOKEN
    return Secret(path.read_text().strip() if path.exists() else "")
