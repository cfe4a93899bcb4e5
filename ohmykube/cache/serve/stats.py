"""Counts what a server sent."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ServeStats:
    """What was sent so far, in bytes of bodies."""

    requests: int
    sent: int
    by_blob: Mapping[str, int]
    """Digest to bytes; manifests included."""
    by_client: Mapping[str, int]
    """Node name, or address for a client that does not tell its name."""


class Counts:
    """The running counts; safe to use from several threads."""

    def __init__(self, *, by_blob: bool = True) -> None:
        """``by_blob`` is False for a server that lives long: the digests would grow without end."""
        self._guard = threading.Lock()
        self._by_blob = by_blob
        self._requests = 0
        self._sent = 0
        self._blobs: Counter[str] = Counter()
        self._clients: Counter[str] = Counter()

    def request(self) -> None:
        """Count one request."""
        with self._guard:
            self._requests += 1

    def sent(self, client: str, digest: str, size: int) -> None:
        """Count ``size`` bytes of a blob."""
        with self._guard:
            self._sent += size
            if self._by_blob:
                self._blobs[digest] += size
            self._clients[client if client in self._clients or self._room() else "others"] += size

    def _room(self) -> bool:
        return len(self._clients) < 1000

    def snapshot(self) -> ServeStats:
        """Return the counts of this moment."""
        with self._guard:
            return ServeStats(self._requests, self._sent, dict(self._blobs), dict(self._clients))
