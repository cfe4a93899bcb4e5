"""Serve the cluster's artifacts to its nodes: one read-only server, one tunnel to each node."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from ohmykube.cache.serve import Server
from ohmykube.cache.store import Store
from ohmykube.errors import TimeoutExceeded, UnreachableError
from ohmykube.kit import files, process, retry
from ohmykube.kit.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.steps.base import Run

NODE_PORT = 5055
"""Port on each node's own loopback at which it finds the cache while a run lasts."""
ENDPOINT = f"http://127.0.0.1:{NODE_PORT}"
OPEN = retry.Wait(seconds=20, every=0.05, factor=1.5, longest=0.5)
_READY = "tunnel-open"


class Serve:
    """The server and the tunnels end with the run."""

    name = "serve"
    title = "Open the cache to the nodes"

    def run(self, run: Run) -> str:
        """Raise UnreachableError when a node refuses the tunnel."""
        token = Secret(_token(run.directory / "cache-token"))
        server = run.cleanup.enter_context(
            Server(Store(run.services.paths.cache), run.need_lock(), token.reveal())
        )
        run.server, run.cache_token = server, token
        tunnels = {node.name: self._open(run, node.name) for node in run.cluster.nodes}
        for node, tunnel in tunnels.items():
            self._wait(run, node, tunnel)
        return f"{len(tunnels)} tunnels"

    @staticmethod
    def _open(run: Run, node: str) -> process.Companion:
        if run.server is None:
            raise UnreachableError("the cache server is not running")
        # A connection of its own: the shared control master may end before the run does.
        tunnel = process.Companion(
            [
                *("ssh", "-F", str(run.need_ssh_config())),
                *("-o", "ControlMaster=no", "-o", "ControlPath=none"),
                *("-o", "ExitOnForwardFailure=yes"),
                *("-R", f"127.0.0.1:{NODE_PORT}:127.0.0.1:{run.server.port}"),
                *(node, f"echo {_READY}; exec cat >/dev/null"),
            ],
            run.run_directory / f"tunnel-{node}.log",
        )
        run.cleanup.callback(tunnel.close)
        return tunnel

    def _wait(self, run: Run, node: str, tunnel: process.Companion) -> None:
        current = tunnel

        def probe() -> bool | None:
            nonlocal current
            if _READY in _text(current.log_file):
                return True
            if not current.alive():
                # The port of a run that was just killed may still be held by its sshd.
                current = self._open(run, node)
            return None

        try:
            retry.until(run.services.clock, OPEN, f"the tunnel to {node}", probe)
        except TimeoutExceeded as error:
            raise UnreachableError(
                f"node {node} does not open the tunnel for the cache",
                why=process.tail(_text(current.log_file)) or error.message,
                hint=f"ohmykube shell {node} -- sshd -T  (AllowTcpForwarding must not be no)",
                id="OMK-V-015",
            ) from error


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _token(path: Path) -> str:
    # One token for the cluster's life: a new one each run would change hosts.toml on every node.
    if path.exists():
        return path.read_text().strip()
    token = secrets.token_urlsafe(24)
    files.write(path, token)
    return token
