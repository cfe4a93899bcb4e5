"""How many clients may be connected at once, and who goes when one more comes."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections import Counter
from contextlib import suppress


class ConnectionLimit:
    """Limits the open connections, each of which is a thread.

    A connection that waits for a request, its first or its next one, gives way to a new one when
    the limit is reached: a client with many idle connections does not lock others out. One address
    gets no more than ``each``, so that none can hold all by reading slowly; the loopback, where all
    nodes come from through their tunnels, is not counted.
    """

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._changed = threading.Condition()
        self._open: dict[socket.socket, str] = {}
        self._peers: Counter[str] = Counter()
        self._waiting: dict[socket.socket, None] = {}
        """In the order in which they began to wait."""

    def enter(self, connection: socket.socket, peer: str, seconds: float) -> bool:
        """Count a connection from the address ``peer``; False if there is no room in time."""
        with self._changed:
            if not self._has_room(peer):
                self._push_out(peer)
            if not self._changed.wait_for(lambda: self._has_room(peer), seconds):
                return False
            self._open[connection] = peer
            self._peers[peer] += 1
            self._waiting[connection] = None
            return True

    def begin_request(self, connection: socket.socket) -> None:
        """Note that a request has arrived: the connection stays until it is answered."""
        with self._changed:
            self._waiting.pop(connection, None)

    def end_request(self, connection: socket.socket) -> None:
        """Note that a request was answered."""
        with self._changed:
            if connection in self._open:
                self._waiting[connection] = None

    def exit(self, connection: socket.socket) -> None:
        """Count a connection no more."""
        with self._changed:
            peer = self._open.pop(connection, None)
            self._waiting.pop(connection, None)
            if peer is not None:
                self._peers[peer] -= 1
                self._peers += Counter()  # drops those that have none any more
            self._changed.notify_all()

    def close_all(self, seconds: float) -> None:
        """End all connections, and wait until all that was sent is counted.

        A thread that is still at something else, such as hashing a blob, is left to itself once
        none has ended for so many seconds.
        """
        with self._changed:
            for connection in self._open:
                _end(connection)
            while left := len(self._open):
                if not self._changed.wait_for(lambda n=left: len(self._open) < n, seconds):  # type: ignore[misc]
                    return

    def _has_room(self, peer: str) -> bool:
        return len(self._open) < self._most and not self._has_many(peer)

    def _has_many(self, peer: str) -> bool:
        return self._peers[peer] >= self._each and not _is_loopback(peer)

    def _push_out(self, peer: str) -> None:
        """End the connection that waits for longest, one of that address if it has too many."""
        many = self._has_many(peer)
        for connection in self._waiting:
            if not many or self._open[connection] == peer:
                del self._waiting[connection]
                _end(connection)
                return


def _is_loopback(peer: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(peer).is_loopback
    return False


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
