"""One ssh connection that lets a node reach a server of this host on the node's own loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import TimeoutExceeded, UnreachableError
from ohmykube.kit import process, retry

if TYPE_CHECKING:
    from pathlib import Path

NODE_PORT = 5055
"""Port on each node's own loopback at which it finds the cache while a run lasts."""
ENDPOINT = f"http://127.0.0.1:{NODE_PORT}"
OPEN = retry.Wait(seconds=20, every=0.05, factor=1.5, longest=0.5)
_READY = "tunnel-open"


class Tunnel:
    """Ends with ``close``, and with the thread that started it at the latest."""

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
            *("-R", f"127.0.0.1:{NODE_PORT}:127.0.0.1:{port}"),
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
            raise UnreachableError(
                f"node {self.node} does not open the tunnel for the cache",
                why=process.tail(words) or error.message,
                hint=f"ohmykube shell {self.node} -- sshd -T  (AllowTcpForwarding must not be no)",
                id="OMK-V-015",
            ) from error

    def opened(self) -> bool:
        """Tell whether the node has opened its end."""
        return _READY in self._text()

    def said(self) -> str:
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
