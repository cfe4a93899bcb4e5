"""Connections through another host, which ssh reaches: a small server there opens them.

ssh leads a Unix socket of this host to one of that host (``-L``), so each connection is a channel
of one ssh with its own flow control. Unlike ``ssh -W`` and ``ssh -D``, which answer before they
have connected, the server there (``kit.relay_server``) tells whether a target answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import secrets
import shlex
import socket
from collections import deque
from typing import TYPE_CHECKING

from ohmykube.kit import failures, process, relay_server
from ohmykube.kit.relay_server import CONNECTED, LENGTH, READY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ohmykube.kit.dialer import Target

LOOK_SECONDS = 0.1
"""How often it is looked whether ssh lives."""
AGAIN_SECONDS = 1.0
"""After which the next host is tried."""
_MOST_WAITING = 64
"""Datagrams that wait for the way to be open."""
_MOST_BYTES = 1 << 20


def ssh_command(config: Path, name: str, path: Path) -> tuple[str, ...]:
    """Return the command that serves ``path`` of this host through a host.

    Args:
        config: of ssh, with an entry for the host.
        name: the host's there.
        path: of the Unix socket; short, as those of all sockets.
    """
    far = f"/tmp/.ohmykube-{secrets.token_hex(16)}"  # noqa: S108 - nobody can guess it
    program = inspect.getsource(relay_server)
    return (
        *("ssh", "-F", str(config), "-o", "ControlMaster=no", "-o", "ControlPath=none"),
        *("-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindUnlink=yes"),
        *("-o", "StreamLocalBindMask=0177", "-L", f"{path}:{far}"),
        *(name, shlex.join(["exec", "python3", "-c", program, far])),
    )


class Relay:
    """A ``Dialer`` through the first of several hosts that answers.

    Args:
        path: of the Unix socket that the commands serve.
        log_file: takes what the command says that is at work.
    """

    def __init__(self, path: Path, log_file: Path) -> None:
        self._path = path
        self._log_file = log_file
        self._commands: tuple[tuple[str, ...], ...] = ()
        self._changed = asyncio.Event()
        self._open = asyncio.Event()

    def use(self, commands: Sequence[Sequence[str]]) -> None:
        """Go through these from now on; one at work that is among them stays."""
        self._commands = tuple(map(tuple, commands))
        self._changed.set()

    async def run(self) -> None:
        """Keep a way open until cancelled; in the main thread (``process.Companion``)."""
        turn = 0
        while True:
            while not self._commands:
                self._changed.clear()
                await self._changed.wait()
            await self._keep(self._commands[turn % len(self._commands)])
            turn += 1
            await asyncio.sleep(AGAIN_SECONDS)

    async def _keep(self, command: tuple[str, ...]) -> None:
        """Keep the way through one host open for as long as it stands."""
        self._path.unlink(missing_ok=True)
        self._log_file.unlink(missing_ok=True)
        child = process.Companion(command, self._log_file)
        with failures.closing(child.close), failures.closing(self._open.clear):
            while child.alive() and command in self._commands:
                if not self._open.is_set() and READY in self._said():
                    self._open.set()
                await asyncio.sleep(LOOK_SECONDS)

    def _said(self) -> str:
        return self._log_file.read_text(errors="replace")

    async def connect(self, target: Target) -> socket.socket:
        """Return a stream to a target over TCP; raises OSError."""
        made = await self.opened("tcp", target)
        try:
            answer = await asyncio.get_running_loop().sock_recv(made, 1)
        except BaseException:  # a cancelled one too
            made.close()
            raise
        if answer != CONNECTED:
            made.close()
            raise ConnectionRefusedError(f"{target[0]}:{target[1]} does not answer")
        return made

    async def opened(self, kind: str, target: Target) -> socket.socket:
        """Return a stream on which the answer is to be read; raises OSError."""
        await self._open.wait()
        loop = asyncio.get_running_loop()
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(0)
        try:
            await loop.sock_connect(made, str(self._path))
            await loop.sock_sendall(made, f"{kind} {target[0]} {target[1]}\n".encode())
        except BaseException:  # a cancelled one too
            made.close()
            raise
        return made

    def datagrams(
        self, target: Target, received: Callable[[bytes], None], refused: Callable[[], None]
    ) -> RelayedDatagrams:
        """Open a way for datagrams."""
        return RelayedDatagrams(self, target, received, refused)


class RelayedDatagrams:
    """A way for datagrams to one target, and back, over a stream of a relay."""

    def __init__(
        self,
        relay: Relay,
        target: Target,
        received: Callable[[bytes], None],
        refused: Callable[[], None],
    ) -> None:
        self._relay, self._target = relay, target
        self._received, self._refused = received, refused
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._writer: asyncio.StreamWriter | None = None
        self._task = asyncio.get_running_loop().create_task(self._transfer())

    def send(self, data: bytes) -> None:
        """Send one, or keep it until the way is open."""
        if self._writer is None:
            self._waiting.append(data)
        elif self._writer.transport.get_write_buffer_size() < _MOST_BYTES:
            self._writer.write(LENGTH.pack(len(data)) + data)

    def close(self) -> None:
        """Send and take none any more."""
        self._task.cancel()

    async def _transfer(self) -> None:
        try:
            stream = await self._relay.opened("udp", self._target)
            reader, writer = await asyncio.open_connection(sock=stream)
        except OSError:
            self._refused()
            return
        with failures.closing(writer.transport.abort), contextlib.suppress(OSError, EOFError):
            if await reader.readexactly(1) == CONNECTED:
                self._writer = writer
                while self._waiting:
                    self.send(self._waiting.popleft())
                while True:
                    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                    self._received(await reader.readexactly(length))
        self._refused()
