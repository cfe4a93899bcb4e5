"""Image manifests and indexes: reading what registries wrote, byte for byte, and what they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import pydantic

from ohmykube.errors import IntegrityError
from ohmykube.kit import digest as digests

if TYPE_CHECKING:
    from ohmykube.cache.store import Store

MAX_BYTES = 4 << 20
"""Larger manifests are refused, as registries refuse them."""
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))


Media = Annotated[str, pydantic.Field(max_length=255, pattern=r"^[!-~]+$")]
"""It becomes a header of HTTP, which a line break in it would end."""


class _Part(pydantic.BaseModel):
    # Unknown fields are other people's and stay in the bytes; ours are strict.
    model_config = pydantic.ConfigDict(frozen=True, strict=True, extra="ignore")


class Platform(_Part):
    """For which machine an image of an index is."""

    os: str = ""
    architecture: str = ""
    variant: str = ""


class Descriptor(_Part):
    """A reference to a blob; ``size`` in bytes."""

    media_type: Annotated[Media, pydantic.Field(alias="mediaType")]
    digest: Annotated[str, pydantic.Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, pydantic.Field(ge=0, lt=1 << 40)]
    platform: Platform | None = None
    annotations: dict[str, str] = pydantic.Field(default_factory=dict)


class Manifest(_Part):
    """One image for one platform."""

    media_type: Annotated[Media, pydantic.Field(alias="mediaType")] = OCI_MANIFEST
    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], pydantic.Field(max_length=1000, strict=False)]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Return config and layers, each digest once."""
        return tuple({blob.digest: blob for blob in (self.config, *self.layers)}.values())


class Index(_Part):
    """One image for several platforms."""

    media_type: Annotated[Media, pydantic.Field(alias="mediaType")] = OCI_INDEX
    manifests: Annotated[tuple[Descriptor, ...], pydantic.Field(max_length=1000, strict=False)]

    @property
    def architectures(self) -> tuple[str, ...]:
        """Return what there is for Linux, each once, sorted."""
        linux = [e.platform for e in self.manifests if e.platform and e.platform.os == "linux"]
        return tuple(sorted({platform.architecture for platform in linux}))

    def only(self, arch: str) -> Descriptor | None:
        """Return the entry for Linux on ``arch``, or None."""
        for entry in self.manifests:
            platform = entry.platform
            if platform and (platform.os, platform.architecture) == ("linux", arch):
                return entry
        return None


def parse(data: bytes, name: str) -> Manifest | Index:
    """Read a manifest or an index, OCI or Docker schema 2; ``name`` is for the message.

    Raises:
        IntegrityError: it is neither, too large, or names something impossible.
    """
    why = f"it has {len(data)} bytes, more than {MAX_BYTES}"
    if len(data) <= MAX_BYTES:
        model = Index if b'"manifests"' in data else Manifest
        try:
            return model.model_validate_json(data)
        except pydantic.ValidationError as error:
            if b'"fsLayers"' in data:
                raise _schema_1(name) from error
            first = error.errors()[0]
            why = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    raise IntegrityError(
        f"the manifest of {name} cannot be understood",
        why=why,
        hint="check that the registry or mirror really serves images under this name",
        id="OMK-I-115",
    )


def _schema_1(name: str) -> IntegrityError:
    return IntegrityError(
        f"{name} is an image in Docker's first format",
        why="manifests of schema version 1 have no digests of layers; containerd has dropped them",
        hint="have the image pushed again by docker 1.10 or newer, or use another tag",
        id="OMK-I-704",
    )


def read(store: Store, digest: str, *, isolate: bool = True) -> Manifest | Index:
    """Read a manifest of the store, its digest checked.

    Args:
        store: the cache.
        digest: of the manifest.
        isolate: move a damaged one to quarantine; False changes nothing.

    Raises:
        NotFoundError: it is not there.
        IntegrityError: it is damaged or no manifest.
    """
    blob = store.locate(digest)
    if blob.size > MAX_BYTES:
        return parse(bytes(MAX_BYTES + 1), digest)
    with blob.open() as stream:
        data = stream.read()
    if digests.of_bytes(data) != digest:
        if isolate:
            store.verify(digest)
        data = b"damaged"
    return parse(data, digest)


def closure(store: Store, digest: str, *, isolate: bool = True) -> dict[str, str]:
    """Return digest to media type of an image's manifest and all that it needs.

    Of an index, only the platforms whose manifests are in the store count. ``isolate`` is that of
    ``read``.

    Raises: as ``read``; blobs that a manifest names are not looked at.
    """
    top = read(store, digest, isolate=isolate)
    found = {digest: top.media_type}
    if isinstance(top, Manifest):
        return found | {blob.digest: blob.media_type for blob in top.blobs}
    for entry in top.manifests:
        if entry.digest not in found and store.has(entry.digest):
            below = read(store, entry.digest, isolate=isolate)
            if isinstance(below, Manifest):
                found[entry.digest] = below.media_type
                found |= {blob.digest: blob.media_type for blob in below.blobs}
    return found
