"""Images whose layers are packed anew, because gunzip is most of what a load costs a node.

containerd names what it unpacked by the digests of the plain tars (the chain ID of the OCI image
specification); an image's config lists them, and containerd compares each with what it unpacked.
So a second manifest with the same config, and the same layers packed by zstd, leaves the very
snapshots that the image needs: pulled after it, the image itself is no more than its manifest. Its
digest is its publisher's, as ever; only the packed layers are not kept on the node, as with
containerd's own option ``discard_unpacked_layers``.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import zlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ohmykube.cache import manifest, oci
from ohmykube.cache.manifest import Manifest
from ohmykube.cache.store import Ref
from ohmykube.kit import digest as digests
from ohmykube.kit import interrupt, parallel
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ohmykube.cache.manifest import Descriptor
    from ohmykube.cache.store import Store

log = logging.getLogger(__name__)

LEVEL = 2
"""Of zstd: no larger than what gzip makes, and packed half again as fast as by level 3."""
FORM = f"zstd-{LEVEL}"
"""Version of the references; another level or algorithm gets another."""
WORTH = 256 << 10
"""Smaller layers stay as they are, in bytes."""
_GZIP = ("+gzip", ".tar.gzip")
"""How the media types of such layers end: OCI and Docker schema 2."""


class Image(Protocol):
    """A reference of kind image, or what a lock says of one."""

    @property
    def digest(self) -> str:
        """Of its manifest."""
        ...

    @property
    def arch(self) -> str:
        """``amd64`` or ``arm64``."""
        ...


def known(store: Store) -> dict[str, str]:
    """Return digest of an image's manifest to that of its repacked one; complete ones only."""
    return {
        ref.name: ref.digest
        for ref in store.refs()
        if ref.kind is Kind.REPACKED and oci.is_complete(store, ref.digest)
    }


def orphans(refs: Iterable[Ref]) -> list[Ref]:
    """Return the references to repacked images whose image no other reference means."""
    all_refs = tuple(refs)
    meant = {ref.digest for ref in all_refs if ref.kind is Kind.IMAGE}
    return [ref for ref in all_refs if ref.kind is Kind.REPACKED and ref.name not in meant]


class Plan(NamedTuple):
    """What is to be done so that some images have repacked forms."""

    images: list[tuple[Image, Manifest]]
    """Images without one that can have one."""
    twins: dict[str, oci.StoredBlob]
    """Digest of a layer to what it was repacked to for other images."""
    layers: dict[str, str]
    """Layers still to be repacked, each with the digest of its plain tar."""


def plan(store: Store, wanted: Iterable[Image]) -> Plan:
    """Look what ``make`` would have to do; its ``images`` are empty when nothing is worth it.

    Raises:
        NotFoundError, IntegrityError: a manifest or config is not there, or is none.
    """
    there = known(store)
    without = _images(store, [image for image in wanted if image.digest not in there])
    worth = [(image, read, dict(_worth(store, read))) for image, read in without]
    twins = _twins(store, there)
    layers = {layer: diff for _, _, some in worth for layer, diff in some.items()}
    return Plan(
        [(image, read) for image, read, some in worth if some],
        twins,
        {layer: diff for layer, diff in layers.items() if layer not in twins},
    )


def make(store: Store, todo: Plan) -> int:
    """Repack the images of a plan; return how many were.

    A layer of several images is repacked once, several layers at a time. An image whose layers
    cannot be unpacked or are not what its config says is left alone: containerd refuses it in its
    own words.

    Args:
        store: has all of their blobs, and somebody keeps them there.
        todo: what ``plan`` found.

    Raises:
        IntegrityError: a blob is damaged.
        ResourceError: no space left.
    """
    with store.using():
        layers = list(todo.layers.items())
        at_most = os.cpu_count() or 1
        made = parallel.each(layers, lambda job: _repacked(store, *job), at_most=at_most)
        new = {layer: one for (layer, _), one in zip(layers, made, strict=True) if one}
        twins = todo.twins | new
        return sum(_record(store, image, read, twins) for image, read in todo.images)


def _images(store: Store, wanted: Iterable[Image]) -> list[tuple[Image, Manifest]]:
    """Return the single images with their manifests, each once."""
    each = {image.digest: image for image in wanted}
    read = [(image, manifest.read(store, image.digest)) for image in each.values()]
    return [(image, one) for image, one in read if isinstance(one, Manifest)]


def _record(store: Store, image: Image, read: Manifest, twins: dict[str, oci.StoredBlob]) -> bool:
    layers = [twins.get(layer.digest) or _same(layer) for layer in read.layers]
    if not any(layer.digest in twins for layer in read.layers):
        return False
    data = oci.manifest_bytes(_same(read.config), layers)
    digest = store.put_bytes(data)
    store.set_ref(
        Ref(
            kind=Kind.REPACKED,
            name=image.digest,
            version=FORM,
            arch=image.arch,
            digest=digest,
            size=oci.image_size(store, digest),
            source="repack",
        )
    )
    return True


def _same(blob: Descriptor) -> oci.StoredBlob:
    return oci.StoredBlob(blob.media_type, blob.digest, blob.size)


def _twins(store: Store, there: dict[str, str]) -> dict[str, oci.StoredBlob]:
    """Return digest of a layer to what was made of it for other images."""
    found: dict[str, oci.StoredBlob] = {}
    for before, after in there.items():
        if not store.has(before):
            continue
        pair = manifest.read(store, before), manifest.read(store, after)
        if isinstance(pair[0], Manifest) and isinstance(pair[1], Manifest):
            both = zip(pair[0].layers, pair[1].layers, strict=True)
            found |= {old.digest: _same(new) for old, new in both if old.digest != new.digest}
    return found


def _worth(store: Store, image: Manifest) -> list[tuple[str, str]]:
    """Return the layers worth it, each with the digest that the config gives for its plain tar."""
    return [
        (layer.digest, diff)
        for layer, diff in zip(image.layers, plain_digests(store, image), strict=False)
        if layer.media_type.endswith(_GZIP) and layer.size >= WORTH
    ]


def plain_digests(store: Store, image: Manifest) -> tuple[str, ...]:
    """Return the digests of the plain tars of an image's layers, lowest first.

    Nothing when its config does not list one for each layer, as with artifacts that are no images.

    Raises:
        NotFoundError: the config is not in the store.
    """
    with store.locate(image.config.digest).open() as stream:
        data = stream.read()
    try:
        found = tuple(str(diff) for diff in json.loads(data)["rootfs"]["diff_ids"])
    except (ValueError, KeyError, TypeError):
        return ()
    return found if len(found) == len(image.layers) else ()


def _repacked(store: Store, digest: str, plain: str) -> oci.StoredBlob | None:
    """Return the layer packed anew; None when it cannot be unpacked to what it should be."""

    def write(sink: oci.Sink) -> None:
        with store.trusted(digest).open() as packed, gzip.GzipFile(fileobj=packed) as stream:
            while piece := stream.read(digests.CHUNK):
                interrupt.check()
                sink.write(piece)

    try:
        layer = oci.pack_layer(store, write, level=LEVEL)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        log.info("%s is not repacked: %s", digest, error)
        return None
    if layer.diff_id != plain:
        log.info("%s is not repacked: its tar is %s, not %s", digest, layer.diff_id, plain)
        return None
    return layer.descriptor
