"""Datagrams that arrive at a socket of this host, led on to another address by asyncio.

Each client has a socket of its own towards the target, so that answers find their way back.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.kit.dialer import AT_ONCE, LARGEST, DirectDialer

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from ohmykube.kit.dialer import Datagrams, Dialer, Target

IDLE_SECONDS = 120.0
MOST_CLIENTS = 1000

_Client = tuple[str, int]


@dataclass(slots=True)
class _Session:
    """The way of one client's datagrams."""

    targets: list[Target]
    """Those that have not refused yet; the first is the one at work."""
    used_at: float
    way: Datagrams
    unanswered: bytes | None = None
    """The last datagram, as long as the target has not answered any: it may refuse it."""
    answers: bool = False


class UdpForward:
    """Leads the datagrams of each client to the first of its targets that does not refuse them.

    Args:
        listener: bound, and does not block; ``close`` closes it.
        targets: in the order in which they are tried.
        dialer: the way to the targets; straight from this host when not given.
        idle: seconds after which a client is forgotten that neither sent nor got anything.
        most: clients; the one that was silent longest is forgotten for another.
    """

    def __init__(
        self,
        listener: socket.socket,
        targets: Sequence[Target],
        dialer: Dialer | None = None,
        *,
        idle: float = IDLE_SECONDS,
        most: int = MOST_CLIENTS,
    ) -> None:
        self._targets = tuple(targets)
        self._listener = listener
        self._dialer = dialer or DirectDialer()
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
        for _ in range(AT_ONCE):
            try:
                data, client = self._listener.recvfrom(LARGEST)
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
        session.way.send(data)

    def _open(self, client: _Client, targets: list[Target], now: float) -> _Session | None:
        while len(self._sessions) >= self._most:
            self._forget(next(iter(self._sessions)))
        while targets:
            try:
                way = self._way(client, targets[0])
            except OSError:
                del targets[0]
                continue
            if self._sweep is None:
                loop = asyncio.get_running_loop()
                self._sweep = loop.call_later(self._idle, self._forget_idle)
            return _Session(targets, now, way)
        return None

    def _way(self, client: _Client, target: Target) -> Datagrams:
        way = self._dialer.datagrams(
            target,
            lambda data: self._answered(client, way, data),
            lambda: self._refused(client, way),
        )
        return way

    def _answered(self, client: _Client, way: Datagrams, data: bytes) -> None:
        session = self._sessions.get(client)
        if session is None or session.way is not way:
            return
        session.used_at = asyncio.get_running_loop().time()
        session.unanswered, session.answers = None, True
        with contextlib.suppress(OSError):  # a datagram may be lost
            self._listener.sendto(data, client)

    def _refused(self, client: _Client, way: Datagrams) -> None:
        """Lead what the client sends to the next target."""
        session = self._sessions.get(client)
        if session is None or session.way is not way:
            return
        self._forget(client)
        following = self._open(client, session.targets[1:], session.used_at)
        if following is not None:
            self._sessions[client] = following
            if session.unanswered is not None:
                following.unanswered = session.unanswered
                following.way.send(session.unanswered)

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
        self._sessions.pop(client).way.close()
