"""Keeps the tunnels to a cluster's nodes open, and out of the way of other runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ohmykube.config.load import from_document
from ohmykube.errors import NotFoundError, OhmykubeError
from ohmykube.progress import Message, NodeProgress, Status
from ohmykube.state import layout

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.steps.context import Services

LONGEST_PAUSE = 30.0
"""Seconds between two attempts to open a tunnel, at most."""


class NodeTunnel(Protocol):
    """One tunnel; see ``steps.tunnel.Tunnel``."""

    def alive(self) -> bool:
        """Tell whether the connection stands or is being made."""
        ...

    def opened(self) -> bool:
        """Tell whether the node has opened its end."""
        ...

    def output(self) -> str:
        """Return the last words of ssh."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Open(Protocol):
    """Starts a tunnel to a node; its port there leads to our listener."""

    def __call__(self, ssh_config: Path, node: str) -> NodeTunnel:
        """Return at once, before the tunnel is open."""
        ...


@dataclass(slots=True)
class _State:
    """What is known about the way to one node."""

    tunnel: NodeTunnel | None = None
    is_open: bool = False
    failures: int = 0
    again_at: float = 0.0


class ClusterTunnels:
    """The tunnels of one cluster. ``update`` is called often, from the main thread only."""

    def __init__(
        self, services: Services, cluster: str, open_tunnel: Open, *, show_nodes: bool = True
    ) -> None:
        """Look at the cluster once.

        Args:
            services: state, clock and reporter.
            cluster: its name.
            open_tunnel: starts a tunnel.
            show_nodes: report each node's state too, for a screen that redraws.

        Raises:
            NotFoundError: there is no such cluster, or it was never reached.
        """
        self._services = services
        self.cluster = cluster
        self._open_tunnel = open_tunnel
        self._show_nodes = show_nodes
        self._directory = services.state.directory(cluster)
        self._states: dict[str, _State] = {}
        self._paused = False
        if not self._look():
            raise NotFoundError(
                f'there is no cluster "{cluster}" whose nodes could be reached',
                why="it does not exist, or `up` has not come so far",
                hint="ohmykube list",
                id="OMK-I-606",
            )

    def __len__(self) -> int:
        """How many tunnels are open."""
        return sum(state.is_open for state in self._states.values())

    @property
    def nodes(self) -> int:
        """How many there should be."""
        return len(self._states)

    def update(self) -> None:
        """Look at every tunnel, and open and close what should be."""
        if self._services.state.is_busy(self.cluster):
            # A run of `up` and the like needs the same port of the nodes, for its own server.
            if not self._paused:
                self._say(f"another run works on {self.cluster}: tunnels closed meanwhile")
                self._close_all()
            self._paused = True
            return
        if self._paused or not self._states:
            there = self._look()
            if self._paused and not there:
                self._say(f"{self.cluster} is gone; its tunnels open again when it is back")
            self._paused = False
        for node, state in self._states.items():
            self._update(node, state)

    def close(self) -> None:
        """Close all."""
        self._close_all()

    def _look(self) -> bool:
        """Read which nodes there are; False when there is nothing to reach."""
        try:
            record = self._services.state.read(self.cluster)
            there = (self._directory / layout.SSH_CONFIG).exists()
            nodes = [n.name for n in from_document(record.document).nodes] if record else []
        except OhmykubeError as error:
            self._say(f"{self.cluster}: {error.message}", level="warning")
            return False
        if not there or not nodes:
            self._close_all()
            self._states.clear()
            return False
        for gone in set(self._states) - set(nodes):
            self._close(gone, self._states.pop(gone))
        for node in nodes:
            self._states.setdefault(node, _State())
        return True

    def _update(self, node: str, state: _State) -> None:
        if state.tunnel is None:
            if self._services.clock.now() >= state.again_at:
                self._attempt(node, state)
        elif not state.tunnel.alive():
            self._lost(node, state, state.tunnel.output())
        elif not state.is_open and state.tunnel.opened():
            state.is_open, state.failures = True, 0
            self._tell(node, "tunnel open", Status.OK)
            self._say(f"tunnel to {self.cluster}/{node} open", event="tunnel-open", node=node)

    def _attempt(self, node: str, state: _State) -> None:
        try:
            state.tunnel = self._open_tunnel(self._directory / layout.SSH_CONFIG, node)
        except OSError as error:
            self._lost(node, state, str(error))
            return
        self._tell(node, "opening the tunnel")

    def _lost(self, node: str, state: _State, why: str) -> None:
        was_open = state.is_open
        if state.tunnel is not None:
            state.tunnel.close()
        state.tunnel, state.is_open = None, False
        state.failures += 1
        pause = min(LONGEST_PAUSE, 0.5 * 2 ** (state.failures - 1))
        state.again_at = self._services.clock.now() + pause
        self._tell(node, "tunnel lost", detail=why)
        if was_open or state.failures == 1:  # the first time; then it is only tried again
            self._say(
                f"tunnel to {self.cluster}/{node} lost: {why or 'the connection ended'}",
                level="warning",
                event="tunnel-lost",
                node=node,
            )

    def _close_all(self) -> None:
        for node, state in self._states.items():
            self._close(node, state)

    def _close(self, node: str, state: _State) -> None:
        if state.tunnel is not None:
            state.tunnel.close()
            self._tell(node, "tunnel closed")
        state.tunnel, state.is_open, state.failures, state.again_at = None, False, 0, 0.0

    def _tell(
        self, node: str, activity: str, status: Status | None = None, detail: str = ""
    ) -> None:
        if not self._show_nodes:
            return
        self._services.reporter.emit(
            NodeProgress(node=node, activity=activity, status=status, detail=detail)
        )

    def _say(self, text: str, *, level: str = "info", **fields: str) -> None:
        fields = {"event": "tunnels", "cluster": self.cluster, **fields}
        self._services.reporter.emit(Message(text=text, level=level, fields=fields))
