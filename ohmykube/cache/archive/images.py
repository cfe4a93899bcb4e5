"""Which images an archive holds, and how they get into the store: all of them, or none.

A manifest, config or layer keeps its bytes, so its digest is the one its maker knows. A docker
archive has no manifest: one is made, always the same for the same archive. Its layers stay as they
lie there, uncompressed as a rule: the config names the digest of exactly these bytes, so they can
be checked, and a compressed copy would have another digest with every version of a compressor.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from ohmykube.cache import manifest, oci
from ohmykube.cache.archive import image_names
from ohmykube.cache.archive.archive_reader import BLOBS, ArchiveFiles
from ohmykube.cache.archive.tarball import bad
from ohmykube.cache.manifest import Descriptor, Index, Manifest
from ohmykube.cache.store import Ref
from ohmykube.errors import IntegrityError, NotFoundError, UsageError
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ohmykube.cache.store import Store

SOURCE = "load"
MAX_LAYERS = 1000
_DEEPEST = 4
"""Indexes that may lead to another one."""
_TAR = "application/vnd.oci.image.layer.v1.tar"
_PACKED = {b"\x1f\x8b": "+gzip", b"\x28\xb5\x2f\xfd": "+zstd"}


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """An image of an archive, understood and complete."""

    references: tuple[str, ...]
    """Full references with a tag; none when the archive does not name it."""
    manifest: bytes
    blobs: dict[str, str]
    """Digest of config and layers to the name in the archive; empty: it is in the store."""
    size: int
    """Bytes of manifest, config and layers."""
    arch: str

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return digests.of_bytes(self.manifest)


def read_images(
    contents: ArchiveFiles, store: Store, arch: str, tell: Callable[[str], None] = lambda _: None
) -> tuple[ArchivedImage, ...]:
    """Return the images for Linux on ``arch``, every one complete.

    What is no image (a signature, what says how an image was built) and what is for other platforms
    is passed over.

    Args:
        contents: the archive.
        store: has blobs that the archive need not hold.
        arch: of the nodes.
        tell: takes a line that says what was passed over, if anything was.

    Raises:
        IntegrityError: it is no image archive, an image has no layers, or something is missing or
            not what it should be.
        NotFoundError: it has no image for ``arch``.
    """
    index = contents.document("index.json")
    reader: _Layout | _DockerArchive = _Layout(contents, store, arch)
    if index is None:
        reader, index = _DockerArchive(contents, store, arch), contents.document("manifest.json")
    if index is None:
        bad(contents.label, "it has neither index.json (OCI) nor manifest.json (docker save)")
    found = reader.images(index)
    if reader.passed_over:
        what = ", ".join(sorted(reader.passed_over))
        tell(f"{contents.label}: passed over what is no image ({what})")
    return found


def import_images(
    contents: ArchiveFiles, found: Sequence[ArchivedImage], store: Store, name: str = ""
) -> tuple[Ref, ...]:
    """Put images into the store, blobs first, references when all is there; return those.

    Args:
        contents: where their bytes are.
        found: what ``read_images`` returned.
        store: where they go.
        name: full reference for an image without one, or instead of its own.

    Raises:
        UsageError: an image has no name, or ``name`` was given for several.
        IntegrityError: a blob is not what its digest says.
    """
    named = _with_names(contents, found, name)
    refs: list[Ref] = []
    with store.using():
        for image, references in named:
            for digest, inside in image.blobs.items():
                if inside and not store.has(digest):
                    contents.put(inside, store, digest)
            store.put_bytes(image.manifest)
            refs += [_ref(reference, image) for reference in references]
        for ref in refs:
            store.set_ref(ref)
    return tuple(refs)


def _ref(reference: str, image: ArchivedImage) -> Ref:
    return Ref(
        kind=Kind.IMAGE,
        name=reference,
        version=image_names.tag_of(reference),
        arch=image.arch,
        digest=image.digest,
        size=image.size,
        source=SOURCE,
    )


def _with_names(
    contents: ArchiveFiles, found: Sequence[ArchivedImage], name: str
) -> list[tuple[ArchivedImage, tuple[str, ...]]]:
    if name and len(found) != 1:
        raise UsageError(
            f"{contents.label} holds {len(found)} images: one name does not do",
            why="images: " + ", ".join(r for image in found for r in image.references),
            hint="`ohmykube image load` without --ref",
            id="OMK-I-504",
        )
    named = [(image, (name,) if name else image.references) for image in found]
    if not all(references for _, references in named):
        raise UsageError(
            f"{contents.label} holds an image without a name",
            why="a pod could not name it",
            hint="name it with --ref, such as --ref app:dev",
            id="OMK-I-505",
        )
    return named


class _Reader:
    """What both forms have in common."""

    def __init__(self, contents: ArchiveFiles, store: Store, arch: str) -> None:
        self.contents = contents
        self.store = store
        self.arch = arch
        self.passed_over: set[str] = set()
        """What is no image."""
        self.elsewhere: set[str] = set()
        """Platforms of images that are not for these nodes."""

    def bad(self, why: str) -> NoReturn:
        bad(self.contents.label, why)

    def json(self, data: bytes, name: str) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            self.bad(f"{name} is no JSON: {error}")

    def config(self, data: bytes) -> dict[str, Any] | None:
        """Return an image's config; None, noted, when it is no image or for another platform."""
        document = self.json(data, "the config")
        if not isinstance(document, dict):
            self.bad("the config of an image is no JSON object")
        found = (document.get("os") or "", document.get("architecture") or "")
        if found == ("linux", self.arch):
            return document
        self._not_for_us(*found)
        return None

    def _not_for_us(self, os: str, arch: str) -> None:
        if {os, arch} <= {"", "unknown"}:  # how docker marks what says how an image was built
            self.passed_over.add("what has no platform")
        else:
            self.elsewhere.add(f"{os or '?'}/{arch or '?'}")

    def wrong_platform(self, why: str) -> NoReturn:
        raise NotFoundError(
            f"{self.contents.label} has no image for linux/{self.arch}, which the nodes are",
            why=why,
            hint=f"build or pull it with --platform linux/{self.arch}, then load it again",
            id="OMK-I-506",
        )


class _Layout(_Reader):
    """OCI: ``index.json`` and ``blobs/sha256/<hex>``."""

    def images(self, data: bytes) -> tuple[ArchivedImage, ...]:
        index = self._parsed(data, "index.json")
        if not isinstance(index, Index) or not index.manifests:
            self.bad("its index.json names no image")
        found: dict[str, ArchivedImage] = {}
        for entry in index.manifests:
            image = self._image(entry, _DEEPEST)
            if image is None:
                continue
            names = image_names.of_annotations(entry.annotations)
            before = found.get(image.digest, image).references
            found[image.digest] = replace(image, references=tuple(dict.fromkeys(before + names)))
        if not found and self.elsewhere:
            self.wrong_platform(f"it has {', '.join(sorted(self.elsewhere))}")
        if not found:
            self.bad(f"it holds no image, only {', '.join(sorted(self.passed_over))}")
        return tuple(found.values())

    def _image(self, entry: Descriptor, levels: int) -> ArchivedImage | None:
        """Return the image that an entry leads to; None when it is none for these nodes."""
        platform = entry.platform
        if entry.media_type not in manifest.IMAGE_TYPES:
            self.passed_over.add(entry.media_type)
            return None
        if platform and (platform.os, platform.architecture) != ("linux", self.arch):
            self._not_for_us(platform.os, platform.architecture)
            return None
        data = self._blob(entry.digest)
        parsed = self._parsed(data, entry.digest)
        if parsed.artifact_type:
            self.passed_over.add(parsed.artifact_type)
            return None
        if isinstance(parsed, Manifest):
            return self._whole(data, parsed)
        if not parsed.manifests:
            self.passed_over.add("an index of nothing")
        if not levels:
            self.bad(f"its indexes lead to indexes more than {_DEEPEST} times")
        fitting = parsed.fitting(self.arch)
        unsaid = [one for one in parsed.manifests if one.platform is None]
        rest = [one for one in parsed.manifests if one not in fitting and one not in unsaid]
        found = (self._image(one, levels - 1) for one in (*fitting, *unsaid, *rest))
        return next((image for image in found if image is not None), None)

    def _whole(self, data: bytes, parsed: Manifest) -> ArchivedImage | None:
        config = self.config(self._blob(parsed.config.digest))
        if config is None:
            return None
        if not parsed.layers:
            raise manifest.no_layers(f"in {self.contents.label}")
        blobs = {blob.digest: self._place(blob) for blob in parsed.blobs}
        size = len(data) + sum(blob.size for blob in parsed.blobs)
        return ArchivedImage((), data, blobs, size, self.arch)

    def _parsed(self, data: bytes, name: str) -> Manifest | Index:
        try:
            return manifest.parse(data, name)
        except IntegrityError as error:
            self.bad(f"{name} is no manifest: {error.why}")

    def _blob(self, digest: str) -> bytes:
        """Return a manifest or config, its digest checked."""
        name = BLOBS + digest.removeprefix("sha256:")
        data = self.contents.document(name)
        if data is None:
            if not self.store.has(digest):
                self.bad(f"{digest} is missing")
            with self.store.locate(digest).open() as stream:
                data = stream.read(manifest.MAX_BYTES)
        if digests.of_bytes(data) != digest:
            self.bad(f"{name} is not what its name says")
        return data

    def _place(self, blob: Descriptor) -> str:
        """Return where a blob is in the archive, or an empty string when only the store has it."""
        name = BLOBS + blob.digest.removeprefix("sha256:")
        size = self.contents.size(name)
        if size is None:
            if not self.store.has(blob.digest):
                self.bad(f"the blob {blob.digest} is missing")
            name, size = "", self.store.locate(blob.digest).size
        if size != blob.size:
            self.bad(f"the blob {blob.digest} has {size} bytes, its manifest says {blob.size}")
        return name


class _DockerArchive(_Reader):
    """``docker save``: ``manifest.json`` names config and layers, and there is no manifest."""

    def __init__(self, contents: ArchiveFiles, store: Store, arch: str) -> None:
        super().__init__(contents, store, arch)
        self._hashed: dict[str, str] = {}

    def images(self, data: bytes) -> tuple[ArchivedImage, ...]:
        listing = self.json(data, "manifest.json")
        if not isinstance(listing, list) or not listing:
            self.bad("its manifest.json names no image")
        found = [image for entry in listing if (image := self._image(entry)) is not None]
        if not found:
            there = ", ".join(sorted(self.elsewhere or self.passed_over))
            self.wrong_platform(f"it has {there}")
        return tuple(found)

    def _image(self, entry: object) -> ArchivedImage | None:
        config_name, layers, tags = self._fields(entry)
        config = self.contents.document(config_name)
        if config is None:
            self.bad(f"{config_name} is missing")
        document = self.config(config)
        if document is None:
            return None
        rootfs = document.get("rootfs")
        diffs = rootfs.get("diff_ids") or [] if isinstance(rootfs, dict) else None
        if not isinstance(diffs, list) or len(diffs) != len(layers):
            self.bad(f"{config_name} does not describe the {len(layers)} layers")
        if not layers:
            raise manifest.no_layers(tags[0] if tags else f"in {self.contents.label}")
        parts = [self._layer(name, diff) for name, diff in zip(layers, diffs, strict=True)]
        own = oci.StoredBlob(oci.CONFIG, digests.of_bytes(config), len(config))
        made = oci.manifest_bytes(own, parts)
        blobs = {part.digest: name for part, name in zip(parts, layers, strict=True)}
        blobs[own.digest] = config_name
        sizes = {part.digest: part.size for part in (own, *parts)}
        return ArchivedImage(tags, made, blobs, len(made) + sum(sizes.values()), self.arch)

    def _fields(self, entry: object) -> tuple[str, list[str], tuple[str, ...]]:
        given: dict[str, Any] = entry if isinstance(entry, dict) else {}
        config, layers = given.get("Config"), given.get("Layers") or []
        tags = given.get("RepoTags") or []
        lists = all(
            isinstance(words, list) and all(isinstance(word, str) for word in words)
            for words in (layers, tags)
        )
        if not isinstance(config, str) or not lists or len(layers) > MAX_LAYERS:
            self.bad("its manifest.json does not name config, layers and tags")
        return config, layers, tuple(image_names.full(tag) for tag in tags)

    def _layer(self, name: str, diff: object) -> oci.StoredBlob:
        size = self.contents.size(name)
        if size is None:
            self.bad(f"the layer {name} is missing")
        head = self.contents.head(name)
        packed = next((form for magic, form in _PACKED.items() if head.startswith(magic)), "")
        # Images share layers, and a list may name one as often as it likes: hashed once.
        digest = self._hashed.get(name) or self.contents.digest(name)
        self._hashed[name] = digest
        if not packed and digest != diff:
            self.bad(f"the layer {name} hashes to {digest}, its config says {diff}")
        return oci.StoredBlob(_TAR + packed, digest, size)
