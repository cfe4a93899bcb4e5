"""What lets a node reach a server of this host on the node's own loopback: ssh, in two ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import TimeoutExceeded, UnreachableError
from ohmykube.kit import process, retry

if TYPE_CHECKING:
    from pathlib import Path

NODE_PORT = 5055
"""Port on each node's own loopback at which it finds the cache while a run lasts."""
ENDPOINT = f"http://127.0.0.1:{NODE_PORT}"
OPEN = retry.Wait(seconds=20, every=0.02, factor=1.2, longest=0.5)
_READY = "tunnel-open"
_ASK_SECONDS = 10


def _forward(port: int) -> str:
    return f"127.0.0.1:{NODE_PORT}:127.0.0.1:{port}"


class Tunnel:
    """A connection of its own; ends with ``close``, at the latest with the thread that made it."""

    def __init__(self, ssh_config: Path, node: str, port: int, log_file: Path) -> None:
        """Start it.

        Args:
            ssh_config: with an entry for the node.
            node: its name there.
            port: on this host's loopback, to which the node's ``NODE_PORT`` leads.
            log_file: takes what ssh says.
        """
        self.node = node
        # A connection of its own: the shared control master may end before the run does.
        self._argv = [
            *("ssh", "-F", str(ssh_config)),
            *("-o", "ControlMaster=no", "-o", "ControlPath=none"),
            *("-o", "ExitOnForwardFailure=yes"),
            *("-R", _forward(port)),
            *(node, f"echo {_READY}; exec cat >/dev/null"),
        ]
        self._log_file = log_file
        self._child = self._start()

    def _start(self) -> process.Companion:
        self._log_file.write_bytes(b"")
        return process.Companion(self._argv, self._log_file)

    def wait(self, clock: retry.Clock, limit: retry.Wait = OPEN) -> None:
        """Return once it is open, again if it was lost; raises UnreachableError when refused."""

        def probe() -> bool | None:
            if self.opened():
                return True
            if not self._child.alive():
                # The port of a run that was just killed may still be held by its sshd.
                self.close()
                said.append(self._text())
                self._child = self._start()
            return None

        said: list[str] = []
        try:
            retry.until(clock, limit, f"the tunnel to {self.node}", probe)
        except TimeoutExceeded as error:
            words = self._text() or (said[-1] if said else "")
            raise _refused(self.node, process.tail(words) or error.message) from error

    def opened(self) -> bool:
        """Tell whether the node has opened its end."""
        return _READY in self._text()

    def output(self) -> str:
        """Return the last words of ssh."""
        return process.tail(self._text().replace(_READY, ""))

    def alive(self) -> bool:
        """Tell whether the connection still stands."""
        return self._child.alive()

    def close(self) -> None:
        """End it; safe to call twice."""
        self._child.close()

    def _text(self) -> str:
        return self._log_file.read_text(errors="replace")


class SharedForward:
    """A forward on the connection that commands to the node share: no handshake, and their fate.

    For work whose commands go over that connection anyway. Where nothing is shared, or the
    connection still has the forward of a run that was killed, a ``Tunnel`` takes its place.
    """

    def __init__(self, ssh_config: Path, node: str, port: int, log_file: Path) -> None:
        """Opens nothing yet; arguments as for ``Tunnel``."""
        self._parts = (ssh_config, node, port, log_file)
        self._tunnel: Tunnel | None = None

    def wait(self, clock: retry.Clock, limit: retry.Wait = OPEN) -> None:
        """Return once it is open, again if it was lost; raises UnreachableError when refused."""
        if self._tunnel is None and not self._ask("forward"):
            # The next command makes a new connection; this one ends with its last command.
            self._ask("stop")
            self._tunnel = Tunnel(*self._parts)
        if self._tunnel is not None:
            self._tunnel.wait(clock, limit)

    def close(self) -> None:
        """End it; safe to call twice."""
        if self._tunnel is not None:
            self._tunnel.close()
        else:
            self._ask("cancel")

    def _ask(self, verb: str) -> bool:
        """Tell the connection's owner something; asked twice to forward, it does so once."""
        ssh_config, node, port, _ = self._parts
        what = [] if verb == "stop" else ["-R", _forward(port)]
        argv = ["ssh", "-F", str(ssh_config), "-O", verb, *what, node]
        return process.run(argv, timeout=_ASK_SECONDS, check=False).code == 0


def _refused(node: str, why: str) -> UnreachableError:
    return UnreachableError(
        f"node {node} does not open the tunnel for the cache",
        why=why,
        hint=f"ohmykube shell {node} -- sshd -T  (AllowTcpForwarding must not be no)",
        id="OMK-V-015",
    )
