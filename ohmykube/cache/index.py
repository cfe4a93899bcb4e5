"""What the cache can find out again: when a blob was last hashed, and counters."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ohmykube.cache.blobs import Blob
    from ohmykube.cache.layout import Layout


@dataclass(frozen=True, slots=True)
class Stamp:
    """How a blob's file looked; another one means other bytes are possible."""

    size: int
    inode: int
    mtime_ns: int

    @classmethod
    def of(cls, blob: Blob) -> Stamp:
        """Return the stamp of a blob's file now; raises OSError."""
        status = blob.path.stat()
        return cls(blob.size, status.st_ino, status.st_mtime_ns)


class Index:
    """Records by digest."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._verified: dict[str, Stamp] = {}
        self._counters: Counter[str] = Counter()

    def is_verified(self, digest: str, stamp: Stamp) -> bool:
        """Tell whether the blob was hashed when its file looked like this."""
        with self._lock:
            return self._verified.get(digest) == stamp

    def verified(self, digest: str, stamp: Stamp) -> None:
        """Remember that the blob was hashed."""
        with self._lock:
            self._verified[digest] = stamp

    def count(self, metric: str, n: int) -> None:
        """Add to a counter."""
        with self._lock:
            self._counters[metric] += n
