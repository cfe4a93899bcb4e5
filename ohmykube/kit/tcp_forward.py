"""Connections that arrive at a socket of this host, led on to another address by asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, cast

from ohmykube.kit.dialer import DirectDialer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ohmykube.kit.dialer import Dialer, Target

SILENT_SECONDS = 1.0
"""After which a target is passed over for the next one."""
LAST_SECONDS = 5.0
"""How long the last one may take."""
_BUFFER = 1 << 20
"""Bytes that wait for a slow reader before the sender is made to wait too."""
_RESET = struct.pack("ii", 1, 0)
_IDLE: int = getattr(socket, "TCP_KEEPIDLE", 0) or getattr(socket, "TCP_KEEPALIVE", 0)
"""The second is its name on macOS."""


class TcpForward:
    """Leads each connection to the first of its targets that answers."""

    def __init__(
        self, listener: socket.socket, targets: Sequence[Target], dialer: Dialer | None = None
    ) -> None:
        """Take over a bound socket, which ``close`` closes; without a dialer connect straight."""
        self._targets = list(targets)
        self._listener = listener
        self._dialer = dialer or DirectDialer()
        self._server: asyncio.Server | None = None
        self.linked = 0
        """How many connections have found their target so far."""
        self._linking: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self._accept), sock=self._listener)

    def lead_to(self, targets: Sequence[Target]) -> None:
        """Lead connections that are still to come elsewhere."""
        if set(targets) != set(self._targets):
            self._targets = list(targets)

    def close(self) -> None:
        """Take none any more; those that are open go on."""
        if self._server is not None:
            self._server.close()

    def _accept(self, client: _End) -> None:
        task = asyncio.get_running_loop().create_task(self._link(client))
        self._linking.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._linking.discard)

    async def _link(self, client: _End) -> None:
        try:
            found = await self._connect()
        except asyncio.CancelledError:
            client.transport.abort()
            raise
        if found is None:
            client.reset()
            return
        server = _End()
        await asyncio.get_running_loop().create_connection(lambda: server, sock=found)
        client.link(server)
        self.linked += 1

    async def _connect(self) -> socket.socket | None:
        for target in tuple(self._targets):
            limit = LAST_SECONDS if target == self._targets[-1] else SILENT_SECONDS
            try:
                async with asyncio.timeout(limit):
                    found = await self._dialer.connect(target)
            except OSError:  # TimeoutError is one
                continue
            if target in self._targets:  # the one that answers is asked first from now on
                self._targets.remove(target)
                self._targets.insert(0, target)
            return found
        return None


def keep_alive(connection: socket.socket, *, idle: int, every: int, times: int) -> None:
    """Let the kernel find out that the other end is gone without a word.

    Args:
        connection: over TCP; one of this host alone, a Unix socket, needs nothing.
        idle: seconds of silence before it asks.
        every: seconds between two questions.
        times: how many are left unanswered.
    """
    if connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, _IDLE, idle)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, times)


class _End(asyncio.Protocol):
    """One end of a connection: what it receives its peer sends, no faster than that can."""

    def __init__(self, accepted: Callable[[_End], None] | None = None) -> None:
        self._accepted = accepted
        self._peer: _End | None = None
        self.ended = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_BUFFER)
        own = self._socket()
        keep_alive(own, idle=60, every=15, times=4)
        self.transport.pause_reading()
        if self._accepted is not None:
            self._accepted(self)

    def _socket(self) -> socket.socket:
        return cast("socket.socket", self.transport.get_extra_info("socket"))

    def link(self, peer: _End) -> None:
        """Carry both ways from now on."""
        self._peer, peer._peer = peer, self
        for one, other in ((self, peer), (peer, self)):
            if one.transport.is_closing():
                other.transport.abort()
                return
        self.transport.resume_reading()
        peer.transport.resume_reading()

    def reset(self) -> None:
        """End it so that the client sees that nobody answers."""
        with contextlib.suppress(OSError):
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._peer is not None:
            self._peer.transport.write(data)

    def pause_writing(self) -> None:
        if self._peer is not None:
            self._peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._peer is not None and not self._peer.transport.is_closing():
            self._peer.transport.resume_reading()

    def eof_received(self) -> bool:
        """Tell the peer that no more comes; the other direction stays open until it ends too."""
        self.ended = True
        if self._peer is None or self._peer.transport.is_closing():
            return False
        if not self._peer.ended:
            self._peer.transport.write_eof()
            return True
        self._peer.transport.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._peer is None or self._peer.transport.is_closing():
            return
        if exc is not None:
            self._peer.reset()
        else:
            self._peer.transport.close()
