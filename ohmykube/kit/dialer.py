"""How addresses of a network are reached: straight from this host, or through another one."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

Target = tuple[str, int]
"""Address and port."""
AT_ONCE = 64
"""Datagrams that are taken from one socket before others have their turn."""
LARGEST = 65536
"""Bytes of a datagram."""


class Datagrams(Protocol):
    """A way for datagrams to one target and back."""

    def send(self, data: bytes, /) -> None:
        """Send one; it may be lost."""
        ...

    def close(self) -> None:
        """Send and take none any more; safe to call twice."""
        ...


class Dialer(Protocol):
    """Opens connections; used in an event loop."""

    async def connect(self, target: Target, /) -> socket.socket:
        """Return a connected stream that does not block; raises OSError."""
        ...

    def datagrams(
        self, target: Target, received: Callable[[bytes], None], refused: Callable[[], None], /
    ) -> Datagrams:
        """Open a way for datagrams; raises OSError.

        Args:
            target: where they go.
            received: called with each that comes back.
            refused: called when nothing listens at the target; the way is of no use then.
        """
        ...


class DirectDialer:
    """This host's own network, or the one that its thread is in."""

    async def connect(self, target: Target) -> socket.socket:
        """Return a connection over TCP; raises OSError."""
        made = socket.socket(family_of(target), socket.SOCK_STREAM)
        made.settimeout(0)
        try:
            await asyncio.get_running_loop().sock_connect(made, target)
        except BaseException:  # a cancelled one too
            made.close()
            raise
        return made

    def datagrams(
        self, target: Target, received: Callable[[bytes], None], refused: Callable[[], None]
    ) -> Datagrams:
        """Open a socket for UDP; raises OSError."""
        return _DirectDatagrams(target, received, refused)


class _DirectDatagrams:
    def __init__(
        self, target: Target, received: Callable[[bytes], None], refused: Callable[[], None]
    ) -> None:
        self._received, self._refused = received, refused
        self._socket = socket.socket(family_of(target), socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        try:
            self._socket.connect(target)
        except OSError:
            self._socket.close()
            raise
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except ConnectionRefusedError:  # what an earlier one met
            self._refused()
        except OSError:
            return  # a datagram may be lost

    def _readable(self) -> None:
        for _ in range(AT_ONCE):
            try:
                data = self._socket.recv(LARGEST)
            except ConnectionRefusedError:
                self._refused()
                return
            except OSError:
                return
            self._received(data)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()


def family_of(target: Target) -> socket.AddressFamily:
    """Return the family of an address."""
    return socket.AF_INET6 if ":" in target[0] else socket.AF_INET
