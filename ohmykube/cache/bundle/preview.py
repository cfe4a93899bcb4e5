"""The cache as it would be with some bundles attached, for a plan that changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache.bundle import import_bundle, read
from ohmykube.cache.store import Blob, Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.cache.store import Ref
    from ohmykube.model.artifact import Kind


class StoreWithBundles(Store):
    """A read-only view of a cache together with what bundles would add to it."""

    def __init__(self, root: Path, bundles: Sequence[Path], allowed: Path | None) -> None:
        """Look into ``bundles`` in their order; raises as ``bring.use`` but hashes no blob."""
        super().__init__(root)
        self._added: dict[str, Blob] = {}
        self._named: dict[tuple[Kind, str, str, str], Ref] = {}
        for path in bundles:
            found, _ = import_bundle.open_attachable(path, allowed)
            self._added |= {
                digest: Blob(digest, path, *place) for digest, place in found.places().items()
            }
            read.check_older_bundle(found, self.has)
            self._named |= {ref.key: ref for ref in found.refs}

    def refs(self) -> tuple[Ref, ...]:
        """Return all references, those of the bundles in place of the cache's."""
        return tuple(({ref.key: ref for ref in super().refs()} | self._named).values())

    def ref(self, kind: Kind, name: str, version: str, arch: str) -> Ref | None:
        """Return a reference, or None."""
        return self._named.get((kind, name, version, arch)) or super().ref(
            kind, name, version, arch
        )

    def _find(self, digest: str) -> Blob | None:
        return super()._find(digest) or self._added.get(digest)
