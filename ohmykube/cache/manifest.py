"""Image manifests and indexes: reading what registries wrote, byte for byte, and what they name."""

from __future__ import annotations

import json
import re
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
IMAGE_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)
ACCEPT = ", ".join(IMAGE_TYPES)


Media = Annotated[str, pydantic.Field(max_length=255, pattern=r"^[!-~]+$")]
"""It becomes a header of HTTP, which a line break in it would end."""


_LISTS = frozenset({"layers", "manifests"})


class _Part(pydantic.BaseModel):
    # Unknown fields are other people's and stay in the bytes; ours are strict.
    model_config = pydantic.ConfigDict(frozen=True, strict=True, extra="ignore")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: object) -> object:
        """Take a null for nothing, as Go does: its programs write one for an empty list."""
        if not isinstance(value, dict):
            return value
        empty: dict[str, list[object]] = {
            key: [] for key in _LISTS & value.keys() if value[key] is None
        }
        return {key: inner for key, inner in value.items() if inner is not None} | empty


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

    @pydantic.field_validator("platform")
    @classmethod
    def _said(cls, platform: Platform | None) -> Platform | None:
        """Take a platform of which nothing is told for none."""
        return platform if platform and (platform.os or platform.architecture) else None


class Manifest(_Part):
    """One image for one platform."""

    media_type: Annotated[Media, pydantic.Field(alias="mediaType")] = OCI_MANIFEST
    artifact_type: Annotated[str, pydantic.Field(alias="artifactType", max_length=255)] = ""
    """What it is, when it is no image: a signature, a list of materials, a chart."""
    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], pydantic.Field(max_length=1000, strict=False)]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Return config and layers, each digest once."""
        return tuple({blob.digest: blob for blob in (self.config, *self.layers)}.values())


class Index(_Part):
    """One image for several platforms."""

    media_type: Annotated[Media, pydantic.Field(alias="mediaType")] = OCI_INDEX
    artifact_type: Annotated[str, pydantic.Field(alias="artifactType", max_length=255)] = ""
    manifests: Annotated[tuple[Descriptor, ...], pydantic.Field(max_length=1000, strict=False)]

    @property
    def architectures(self) -> tuple[str, ...]:
        """Return what there is for Linux, each once, sorted."""
        linux = [e.platform for e in self.manifests if e.platform and e.platform.os == "linux"]
        return tuple(sorted({platform.architecture for platform in linux}))

    def fitting(self, arch: str) -> tuple[Descriptor, ...]:
        """Return the entries for Linux on ``arch``, first the one that runs on most processors."""
        found = [
            entry
            for entry in self.manifests
            if entry.platform
            and (entry.platform.os, entry.platform.architecture) == ("linux", arch)
        ]
        return tuple(sorted(found, key=lambda entry: _demand(arch, entry.platform)))

    def only(self, arch: str) -> Descriptor | None:
        """Return the entry to take for Linux on ``arch``, or None.

        Which variant a node's processor has is not known here, so it is the least demanding one.
        An entry alone that tells no platform is taken: its config tells it.
        """
        fitting = self.fitting(arch)
        if not fitting and len(self.manifests) == 1 and self.manifests[0].platform is None:
            return self.manifests[0]
        return fitting[0] if fitting else None


_BASELINE = {"amd64": ("", "v1"), "arm64": ("", "v8", "8")}
"""Variants of an architecture that each of its processors has (containerd/platforms)."""


def _demand(arch: str, platform: Platform | None) -> tuple[int, ...]:
    variant = platform.variant if platform else ""
    if variant in _BASELINE.get(arch, ("",)):
        return ()
    return tuple(map(int, re.findall(r"[0-9]+", variant))) or (0,)


def parse(data: bytes, name: str) -> Manifest | Index:
    """Read a manifest or an index, OCI or Docker schema 2; ``name`` is for the message.

    Raises:
        IntegrityError: it is neither, too large, or names something impossible.
    """
    why = f"it has {len(data)} bytes, more than {MAX_BYTES}"
    if len(data) <= MAX_BYTES:
        fields = _fields(data)
        model = Index if "manifests" in fields else Manifest
        try:
            if {"manifests", "layers"} <= fields:
                raise ValueError("it is an image and an index at once")  # noqa: TRY301 - as below
            return model.model_validate_json(data)
        except pydantic.ValidationError as error:
            if "fsLayers" in fields:
                raise _schema_1(name) from error
            first = error.errors()[0]
            why = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        except ValueError as error:
            why = str(error)
    raise IntegrityError(
        f"the manifest of {name} cannot be understood",
        why=why,
        hint="check that the registry or mirror really serves images under this name",
        id="OMK-I-115",
    )


def _fields(data: bytes) -> frozenset[str]:
    """Return the names of the fields of a document that have a value.

    A null is one where nothing but the list of manifests can make the document an image or index.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return frozenset()
    found = document if isinstance(document, dict) else {}
    told = frozenset(name for name, value in found.items() if value is not None)
    return told if told & {"config", "layers"} else told | ({"manifests"} & found.keys())


def no_layers(name: str) -> IntegrityError:
    """Return the error for an image of which nothing can be started."""
    return IntegrityError(
        f"the image {name} has no layers",
        why="containerd has nothing to unpack, so no container can be started from it",
        hint="add a file to the image, such as with COPY in its Dockerfile",
        id="OMK-I-372",
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
