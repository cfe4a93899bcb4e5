"""Which blobs a reference needs, and which references need a blob."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache import manifest
from ohmykube.errors import IntegrityError, NotFoundError
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ohmykube.cache.store import Ref, Store


MANIFESTS = frozenset({Kind.IMAGE, Kind.REPACKED})
"""Kinds of references to a manifest: its blobs are needed too."""


class Reachability:
    """Answers about one store; a manifest is read once. Changes nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, frozenset[str]] = {}

    def of(self, ref: Ref) -> frozenset[str]:
        """Return all digests that a reference needs, its own among them, here or not.

        The index that an image's name led to is among them while it is here: nothing needs it to
        be whole, and it goes with its image.
        """
        if ref.kind not in MANIFESTS:
            return frozenset((ref.digest,))
        index = {ref.index} if ref.index and self._store.has(ref.index) else set()
        return self.below(ref.digest) | index

    def below(self, digest: str) -> frozenset[str]:
        """Return a digest and, when it is a manifest that can be read, all that it leads to."""
        if digest not in self._known:
            try:
                found = frozenset(manifest.closure(self._store, digest, isolate=False))
            except (NotFoundError, IntegrityError):
                # A package is no manifest, and a damaged manifest leads nowhere; but another run
                # may bring one that is whole before it is asked about again.
                return frozenset((digest,))
            self._known[digest] = found
        return self._known[digest]

    def all(self, digests: Iterable[str]) -> set[str]:
        """Return the digests with all that they lead to."""
        return set().union(*(self.below(digest) for digest in digests))

    def holders(self, refs: Iterable[Ref]) -> Mapping[str, tuple[Ref, ...]]:
        """Return digest to the references that need it."""
        found: dict[str, list[Ref]] = {}
        for ref in refs:
            for digest in self.of(ref):
                found.setdefault(digest, []).append(ref)
        return {digest: tuple(users) for digest, users in found.items()}
