"""Removes from the cache what nothing refers to any more."""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.cache import manifest
from ohmykube.errors import IntegrityError, NotFoundError
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ohmykube.cache.store import Store

GRACE_SECONDS = 3600.0
"""Younger blobs stay: a run that has died may be repeated soon."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed; sizes in bytes."""

    blobs: int
    blob_bytes: int
    leftover_bytes: int
    """Abandoned partial downloads and whatever was in quarantine."""

    @property
    def freed(self) -> int:
        """All bytes together."""
        return self.blob_bytes + self.leftover_bytes


def prune(store: Store, *, keep: Iterable[str] = (), older_than: float = GRACE_SECONDS) -> Pruned:
    """Remove blobs that no reference leads to, the quarantine and old partial downloads.

    Args:
        store: the cache.
        keep: digests that stay with all that they lead to, such as those of clusters' locks.
        older_than: seconds since the blob came in.

    Raises:
        LockedError: another run uses the cache.
    """
    with store.alone():
        wanted = _reachable(store, keep)
        blobs = freed = 0
        for digest in store.digests():
            if digest not in wanted and _age(store, digest) >= older_than:
                freed += store.discard(digest)
                blobs += 1
        return Pruned(blobs, freed, store.sweep() + _empty(store.quarantine))


def _reachable(store: Store, keep: Iterable[str]) -> set[str]:
    wanted = set(keep)
    images = {ref.digest for ref in store.refs() if ref.kind is Kind.IMAGE}
    wanted |= {ref.digest for ref in store.refs()}
    wanted |= {ref.index for ref in store.refs() if ref.index}
    for digest in images | set(keep):
        # A package among ``keep`` is no manifest, and a damaged manifest leads nowhere.
        with contextlib.suppress(NotFoundError, IntegrityError):
            wanted |= set(manifest.closure(store, digest))
    return wanted


def _age(store: Store, digest: str) -> float:
    try:
        return time.time() - store.path(digest).stat().st_mtime
    except (NotFoundError, FileNotFoundError):
        return 0.0


def _empty(directory: Path) -> int:
    freed = 0
    for entry in directory.iterdir() if directory.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            freed += entry.stat().st_size
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    return freed
