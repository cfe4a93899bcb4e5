"""Small but real OCI images for tests."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.cache.manifest import OCI_MANIFEST
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import ArtifactLock, Kind, LockedArtifact
from tests import artifact_locks

if TYPE_CHECKING:
    from ohmykube.cache.store import Store


@dataclass(frozen=True)
class Image:
    """Bytes of an image; ``blobs`` has config and layers by digest."""

    manifest: bytes
    blobs: dict[str, bytes]

    @property
    def digest(self) -> str:
        return digests.of_bytes(self.manifest)

    @property
    def layers(self) -> list[str]:
        return [layer["digest"] for layer in json.loads(self.manifest)["layers"]]

    def put(self, store: Store) -> str:
        for data in (*self.blobs.values(), self.manifest):
            store.put_bytes(data)
        return self.digest


def layer(name: str, size: int, seed: int) -> tuple[bytes, str]:
    """Return a gzip layer with one incompressible file, and the digest of its tar."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o755
        archive.addfile(info, io.BytesIO(random.Random(seed).randbytes(size)))
    return gzip.compress(sink.getvalue(), 1, mtime=0), digests.of_bytes(sink.getvalue())


def image(*sizes: int, seed: int = 1, media: str = OCI_MANIFEST, arch: str = "amd64") -> Image:
    """Make an image with one layer of about each size in bytes."""
    blobs: dict[str, bytes] = {}
    diffs, layers = [], []
    for number, size in enumerate(sizes):
        data, diff = layer(f"file{number}", size, seed * 100 + number)
        blobs[digests.of_bytes(data)] = data
        diffs.append(diff)
        layers.append(describe(data, "application/vnd.oci.image.layer.v1.tar+gzip"))
    config = json.dumps(
        {
            "architecture": arch,
            "os": "linux",
            "config": {"Entrypoint": ["/file0"]},
            "rootfs": {"type": "layers", "diff_ids": diffs},
        }
    ).encode()
    blobs[digests.of_bytes(config)] = config
    document = {
        "schemaVersion": 2,
        "mediaType": media,
        "config": describe(config, "application/vnd.oci.image.config.v1+json"),
        "layers": layers,
    }
    return Image(json.dumps(document).encode(), blobs)


def describe(data: bytes, media: str) -> dict[str, object]:
    return {"mediaType": media, "digest": digests.of_bytes(data), "size": len(data)}


def locked(kind: Kind, name: str, digest: str, content_digest: str = "") -> LockedArtifact:
    return LockedArtifact(
        kind=kind,
        name=name,
        version="1",
        arch="amd64",
        digest=digest,
        size=1,
        source="upstream",
        content_digest=content_digest,
    )


def lock(*artifacts: LockedArtifact) -> ArtifactLock:
    return artifact_locks.of(version="1.36.3", arch="amd64", artifacts=artifacts)


def with_layer(base: Image, size: int, seed: int) -> Image:
    """Return ``base`` with one more layer on top."""
    document = json.loads(base.manifest)
    blobs = dict(base.blobs)
    config = json.loads(blobs.pop(document["config"]["digest"]))
    data, diff = layer("top", size, seed)
    config["rootfs"]["diff_ids"].append(diff)
    text = json.dumps(config).encode()
    blobs |= {digests.of_bytes(part): part for part in (data, text)}
    document["config"] = describe(text, "application/vnd.oci.image.config.v1+json")
    document["layers"].append(describe(data, "application/vnd.oci.image.layer.v1.tar+gzip"))
    return Image(json.dumps(document).encode(), blobs)


def tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    """Return a plain tar of files in the given order."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def oci_files(made: Image, name: str = "") -> dict[str, bytes]:
    """Return the files of an OCI layout with one image."""
    entry = describe(made.manifest, OCI_MANIFEST)
    if name:
        entry["annotations"] = {"org.opencontainers.image.ref.name": name}
    index = {"schemaVersion": 2, "manifests": [entry]}
    blobs = {**made.blobs, made.digest: made.manifest}
    return {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        **{f"blobs/{digest.replace(':', '/')}": data for digest, data in blobs.items()},
        "index.json": json.dumps(index).encode(),
    }


def oci_archive(made: Image, name: str = "") -> bytes:
    """Return an OCI archive with one image."""
    return tar(oci_files(made, name))


def of_files(*layers: dict[str, bytes], arch: str = "amd64") -> Image:
    """Make an image of layers of executable files; the first file is what runs."""
    tars = [tar(files, mode=0o755) for files in layers]
    return of_tars(*tars, run=[f"/{next(iter(layers[0]))}"], arch=arch)


def of_tars(
    *tars: bytes, run: list[str], words: tuple[str, ...] = (), arch: str = "amd64"
) -> Image:
    """Make an image of layers that are given as plain tars.

    Args:
        tars: the layers.
        run: what runs.
        words: further words of that, where a pod names no others.
        arch: of the programs.
    """
    parts, blobs = [], {}
    for content in tars:
        packed = gzip.compress(content, 1, mtime=0)
        blobs[digests.of_bytes(packed)] = packed
        parts.append(describe(packed, "application/vnd.oci.image.layer.v1.tar+gzip"))
    config = json.dumps(
        {
            "architecture": arch,
            "os": "linux",
            "config": {
                "Entrypoint": run,
                "Cmd": list(words),
                "Env": ["PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"],
            },
            "rootfs": {"type": "layers", "diff_ids": [digests.of_bytes(one) for one in tars]},
        }
    ).encode()
    blobs[digests.of_bytes(config)] = config
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe(config, "application/vnd.oci.image.config.v1+json"),
        "layers": parts,
    }
    return Image(json.dumps(document).encode(), blobs)
