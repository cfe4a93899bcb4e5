"""Datagrams that arrive at a socket of this host, led on to another address by asyncio.

Each client has a socket of its own towards the target, so that answers find their way back.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.kit.tcp_forward import family_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.kit.tcp_forward import Target

IDLE_SECONDS = 120.0
MOST_CLIENTS = 1000
_AT_ONCE = 64
"""Datagrams that are taken from one socket before others have their turn."""
_LARGEST = 65536

_Client = tuple[str, int]


@dataclass(slots=True)
class _Session:
    """The way of one client's datagrams."""

    socket: socket.socket
    targets: list[Target]
    """Those that have not refused yet."""
    used_at: float
    unanswered: bytes | None = None
    """The last datagram, as long as the target has not answered any: it may refuse it."""
    answers: bool = False


class UdpForward:
    """Leads the datagrams of each client to the first of its targets that does not refuse them.

    Args:
        listener: bound, and does not block; ``close`` closes it.
        targets: in the order in which they are tried.
        idle: seconds after which a client is forgotten that neither sent nor got anything.
        most: clients; the one that was silent longest is forgotten for another.
    """

    def __init__(
        self,
        listener: socket.socket,
        targets: Sequence[Target],
        *,
        idle: float = IDLE_SECONDS,
        most: int = MOST_CLIENTS,
    ) -> None:
        self._targets = tuple(targets)
        self._listener = listener
        self._idle = idle
        self._most = most
        self._sessions: dict[_Client, _Session] = {}
        """In the order of their last use."""
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def clients(self) -> int:
        """How many clients there are."""
        return len(self._sessions)

    async def start(self) -> None:
        """Take datagrams."""
        asyncio.get_running_loop().add_reader(self._listener, self._received)

    def lead_to(self, targets: Sequence[Target]) -> None:
        """Lead all that is still to come elsewhere."""
        if tuple(targets) != self._targets:
            self._targets = tuple(targets)
            for client in tuple(self._sessions):
                self._forget(client)

    def close(self) -> None:
        """Forget all clients and take nothing any more."""
        if self._sweep is not None:
            self._sweep.cancel()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for client in tuple(self._sessions):
            self._forget(client)

    def _received(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, client = self._listener.recvfrom(_LARGEST)
            except OSError:
                return
            self._send(client, data)

    def _send(self, client: _Client, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        session = self._sessions.pop(client, None)
        if session is None:
            session = self._open(client, list(self._targets), now)
            if session is None:
                return
        self._sessions[client] = session
        session.used_at = now
        if not session.answers:
            session.unanswered = data
        try:
            session.socket.send(data)
        except ConnectionRefusedError:  # what an earlier one met
            self._refused(client)
        except OSError:
            return  # a datagram may be lost

    def _open(self, client: _Client, targets: list[Target], now: float) -> _Session | None:
        while len(self._sessions) >= self._most:
            self._forget(next(iter(self._sessions)))
        loop = asyncio.get_running_loop()
        while targets:
            made = socket.socket(family_of(targets[0]), socket.SOCK_DGRAM)
            made.settimeout(0)
            try:
                made.connect(targets[0])
            except OSError:
                made.close()
                del targets[0]
                continue
            loop.add_reader(made, self._answered, client)
            if self._sweep is None:
                self._sweep = loop.call_later(self._idle, self._forget_idle)
            return _Session(made, targets, now)
        return None

    def _answered(self, client: _Client) -> None:
        session = self._sessions[client]
        for _ in range(_AT_ONCE):
            try:
                data = session.socket.recv(_LARGEST)
            except ConnectionRefusedError:
                self._refused(client)
                return
            except OSError:
                return
            session.used_at = asyncio.get_running_loop().time()
            session.unanswered, session.answers = None, True
            with contextlib.suppress(OSError):  # a datagram may be lost
                self._listener.sendto(data, client)

    def _refused(self, client: _Client) -> None:
        """Lead what the client sends to the next target."""
        session = self._sessions[client]
        self._forget(client)
        following = self._open(client, session.targets[1:], session.used_at)
        if following is not None:
            self._sessions[client] = following
            if session.unanswered is not None:
                following.unanswered = session.unanswered
                with contextlib.suppress(OSError):  # a datagram may be lost
                    following.socket.send(session.unanswered)

    def _forget_idle(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = None
        oldest = loop.time() - self._idle
        for client, session in tuple(self._sessions.items()):
            if session.used_at <= oldest:
                self._forget(client)
        if self._sessions:
            self._sweep = loop.call_later(self._idle, self._forget_idle)

    def _forget(self, client: _Client) -> None:
        session = self._sessions.pop(client)
        asyncio.get_running_loop().remove_reader(session.socket)
        session.socket.close()
