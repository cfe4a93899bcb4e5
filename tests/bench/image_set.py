"""The images of a control plane, as registries serve them (gzip layers) and as peers carry them.

Made from the images in the cache, so that every way moves the same files: a store with gzip layers,
one OCI archive of it, one archive with raw layers for all images (``docker save`` of several), and
one such archive for each image.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import zstandard

from ohmykube.cache import manifest, oci
from ohmykube.cache.store import Ref, Store
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.model.artifact import ArtifactLock, LockedArtifact

REGISTRY = "bench.example"
GZIP_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Image:
    """One image: its reference and, in the bench's own store, its manifest."""

    ref: Ref
    config: bytes
    raw_layers: tuple[Path, ...]
    """Uncompressed tars, bottom first."""


@dataclass(frozen=True)
class ImageSet:
    """A set of images in a store of its own, and where the peers' archives of it lie."""

    store: Store
    images: tuple[Image, ...]
    directory: Path

    @property
    def oci_archive(self) -> Path:
        """One OCI archive with gzip layers."""
        return self.directory / "set.oci.tar"

    @property
    def raw_archive(self) -> Path:
        """One archive of all images with raw layers."""
        return self.directory / "set.raw.tar"

    def raw_archives(self) -> list[Path]:
        """Return one archive with raw layers for each image."""
        return sorted(self.directory.glob("image-*.raw.tar"))


def make(source: Store, lock: ArtifactLock, directory: Path) -> ImageSet:
    """Convert the control plane's images of ``lock`` and write all archives."""
    store = Store(directory / "store")
    raw = directory / "raw"
    raw.mkdir(parents=True)
    images = tuple(
        _converted(source, store, artifact, raw)
        for artifact in lock.images("control-plane", lock.architectures[0])
    )
    made = ImageSet(store, images, directory)
    with made.oci_archive.open("wb") as stream:
        oci.write_archive(store, [image.ref for image in images], stream)
    _raw_archive(images, made.raw_archive)
    for number, image in enumerate(images):
        _raw_archive([image], directory / f"image-{number}.raw.tar")
    return made


def changed(made: ImageSet, megabytes: int) -> Image:
    """Return the first image with one more layer of that many incompressible megabytes."""
    image = made.images[0]
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        data = b"".join(
            hashlib.sha256(f"{image.ref.digest}/{n}".encode()).digest()
            for n in range((megabytes << 20) // 32)
        )
        member = tarfile.TarInfo("changed")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    path = made.directory / "raw" / "changed.tar"
    path.write_bytes(body.getvalue())
    config = json.loads(image.config)
    return _assembled(made.store, image.ref, config, (*image.raw_layers, path))


def _converted(source: Store, store: Store, artifact: LockedArtifact, raw: Path) -> Image:
    parsed = manifest.read(source, artifact.digest)
    assert isinstance(parsed, manifest.Manifest)
    # A bottom layer of our own: these share no snapshot with the images of the running cluster.
    layers = [_salt(raw)]
    for blob in parsed.layers:
        path = raw / blob.digest.removeprefix("sha256:")
        if not path.exists():
            with source.path(blob.digest).open("rb") as packed, path.open("wb") as plain:
                _plain(packed, plain, blob.media_type)
        layers.append(path)
    config = json.loads(source.path(parsed.config.digest).read_bytes())
    ref = Ref(
        kind=Kind.IMAGE,
        name=f"{REGISTRY}/{artifact.name.partition('/')[2]}",
        version=artifact.version,
        arch=artifact.arch,
        digest=artifact.digest,
        size=artifact.size,
        source="bench",
    )
    return _assembled(store, ref, config, tuple(layers))


def _salt(raw: Path) -> Path:
    path = raw / "salt.tar"
    if not path.exists():
        with tarfile.open(path, "w") as archive:
            _add(archive, "etc/bench", b"shared by all images of the bench\n")
    return path


def _plain(packed: IO[bytes], plain: IO[bytes], media: str) -> None:
    if media.endswith("zstd"):
        zstandard.ZstdDecompressor().copy_stream(packed, plain)
    else:
        subprocess.run(["gzip", "-dc"], stdin=packed, stdout=plain, check=True)


def _assembled(store: Store, ref: Ref, config: dict[str, Any], layers: tuple[Path, ...]) -> Image:
    descriptors = []
    config = {**config, "rootfs": {"type": "layers", "diff_ids": [_sum(path) for path in layers]}}
    config.pop("history", None)
    for path in layers:
        packed = path.with_suffix(".gz")
        if not packed.exists():
            with path.open("rb") as plain, packed.open("wb") as sink:
                subprocess.run(["gzip", "-6n"], stdin=plain, stdout=sink, check=True)
        digest, size = store.put_file(packed)
        descriptors.append({"mediaType": GZIP_LAYER, "digest": digest, "size": size})
    text = json.dumps(config, sort_keys=True).encode()
    document = {
        "schemaVersion": 2,
        "mediaType": manifest.OCI_MANIFEST,
        "config": {
            "mediaType": oci.CONFIG,
            "digest": store.put_bytes(text),
            "size": len(text),
        },
        "layers": descriptors,
    }
    digest = store.put_bytes(json.dumps(document, sort_keys=True).encode())
    made = Ref(
        kind=ref.kind,
        name=ref.name,
        version=ref.version,
        arch=ref.arch,
        digest=digest,
        size=oci.image_size(store, digest),
        source="bench",
    )
    store.set_ref(made)
    return Image(made, text, layers)


def _sum(path: Path) -> str:
    return digests.of_file(path)


def _raw_archive(images: Sequence[Image], target: Path) -> None:
    """Write what ``docker save`` writes: configs, raw layers and manifest.json."""
    entries, seen = [], set()
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for image in images:
            names = []
            for path in image.raw_layers:
                name = f"{path.stem}/layer.tar"
                names.append(name)
                if name not in seen:
                    seen.add(name)
                    archive.add(path, name)
            config = f"{hashlib.sha256(image.config).hexdigest()}.json"
            _add(archive, config, image.config)
            entries.append({"Config": config, "RepoTags": [image.ref.name], "Layers": names})
        _add(archive, "manifest.json", json.dumps(entries).encode())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
