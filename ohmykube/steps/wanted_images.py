"""Images that nodes should have, and which of their bytes a node lacks."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, NamedTuple

from ohmykube.cache import manifest, oci, repack
from ohmykube.model.artifact import ArtifactLock, Kind, LockedArtifact, LockedSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ohmykube.cache.store import Ref, Store

WEIGHTY = 1 << 20
"""Images that share a missing blob of so many bytes are pulled in turn. containerd fetches none
twice at a time either, but who waits for a blob there keeps one of the places."""


class Form(NamedTuple):
    """One manifest of an image: what has to be on a node before it is unpacked there."""

    digest: str
    """Of the manifest."""
    blobs: Mapping[str, int]
    """Digest to bytes: manifest, config, layers."""
    chains: Mapping[str, frozenset[str]]
    """Digest of a layer to the chain IDs that it has in this image, which name what it unpacks to.
    Nothing for layers of what cannot be unpacked."""

    def lacking(self, there: frozenset[str]) -> dict[str, int]:
        """Return the blobs that a node must fetch.

        Args:
            there: digests of its blobs, and the chain IDs of what it has unpacked. Both are sha256
                of something, and equal only where they mean the same layer.
        """
        return {
            digest: size
            for digest, size in self.blobs.items()
            if digest not in there and not self._is_unpacked(digest, there)
        }

    def _is_unpacked(self, digest: str, there: frozenset[str]) -> bool:
        chains = self.chains.get(digest, frozenset())
        return bool(chains) and there >= chains

    def is_whole(self, there: frozenset[str]) -> bool:
        """Tell whether containers can start from it: all is there, the layers unpacked.

        False also for what has no layers, or none that can be unpacked.
        """
        unpacked = bool(self.chains) and all(ids <= there for ids in self.chains.values())
        return unpacked and self.blobs.keys() - self.chains.keys() <= there

    def weighty(self, there: frozenset[str]) -> frozenset[str]:
        """Return those of them that are worth waiting for."""
        return frozenset(d for d, size in self.lacking(there).items() if size >= WEIGHTY)


class Wanted(NamedTuple):
    """An image that a node should have."""

    ref: Ref
    form: Form
    """The image itself."""
    repacked: Form | None = None
    """The same with layers that are cheaper to unpack, where the store has that."""

    def cheapest(self, there: frozenset[str]) -> Form:
        """Return the form by which a node that has ``there`` gets the image with the least work."""
        if self.repacked is None:
            return self.form
        plain, cheap = (
            form.lacking(there).keys() & form.chains.keys() for form in (self.form, self.repacked)
        )
        # Fewer lack where the node has packed layers already, which would be fetched again.
        return self.repacked if plain != cheap and len(plain) >= len(cheap) else self.form

    def own(self, there: frozenset[str]) -> dict[str, int]:
        """Return the image's own manifest if it is not there; it follows repacked layers."""
        digest = self.form.digest
        return {} if digest in there else {digest: self.form.blobs[digest]}


def wanted_of(store: Store, refs: Iterable[Ref]) -> tuple[Wanted, ...]:
    """Return the images of references; raises as ``oci.image_blobs``."""
    known = repack.known(store)
    return tuple(
        Wanted(
            ref,
            form_of(store, ref.digest),
            form_of(store, known[ref.digest]) if ref.digest in known else None,
        )
        for ref in refs
    )


def form_of(store: Store, digest: str) -> Form:
    """Return what a manifest of the store consists of; raises as ``oci.image_blobs``."""
    blobs = {blob.digest: blob.size for blob in oci.image_blobs(store, digest)}
    image = manifest.read(store, digest)
    chains: dict[str, set[str]] = {}
    if isinstance(image, manifest.Manifest):
        plain = repack.plain_digests(store, image)
        for layer, chain in zip(image.layers, chain_ids(plain), strict=False):
            chains.setdefault(layer.digest, set()).add(chain)
    return Form(digest, blobs, {layer: frozenset(ids) for layer, ids in chains.items()})


def chain_ids(plain: Sequence[str]) -> list[str]:
    """Return the chain ID of each layer, lowest first.

    Args:
        plain: digests of the plain tars, lowest first.

    The OCI image specification (config.md, "Layer ChainID") has the rule.
    """

    def above(below: str, diff: str) -> str:
        return "sha256:" + hashlib.sha256(f"{below} {diff}".encode()).hexdigest()

    return list(itertools.accumulate(plain, above))


def union(blobs: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return all of them, each once."""
    return {digest: size for some in blobs for digest, size in some.items()}


def lock_of(wanted: Sequence[Wanted]) -> ArtifactLock:
    """Return the lock that lets a server serve the images."""
    return ArtifactLock(
        kubernetes_version="",
        architectures=tuple(sorted({image.ref.arch for image in wanted})),
        sets=(
            LockedSet(
                name="images", version="", artifacts=tuple(_locked(one.ref) for one in wanted)
            ),
        ),
    )


def _locked(ref: Ref) -> LockedArtifact:
    return LockedArtifact(
        kind=Kind.IMAGE,
        name=ref.name,
        version=ref.version,
        arch=ref.arch,
        digest=ref.digest,
        size=ref.size,
        source=ref.source,
    )
