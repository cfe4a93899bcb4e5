"""OCI images made of files: the same files give the same layers, configs and manifests.

Everything is written into the store, which keeps ``index.json``. Nothing here carries a time.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import zstandard

from ohmykube.errors import IntegrityError, NotFoundError
from ohmykube.kit import digest, failures, files, interrupt
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from ohmykube.cache.blobs import Blob
    from ohmykube.cache.store import Ref, Store

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
INDEX = "application/vnd.oci.image.index.v1+json"
LEVEL = 3
"""Layers cross a loopback tunnel once: speed of packing and unpacking counts, not the last byte."""
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob of an image; ``size`` in bytes."""

    media_type: str
    digest: str
    size: int

    def document(self) -> dict[str, Any]:
        """Return it as in a manifest."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Layer:
    """A stored layer; ``diff_id`` is the digest of its tar."""

    descriptor: StoredBlob
    diff_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a layer: a file (``path`` or ``data``), a link (``link``), or a directory."""

    mode: int = 0o755
    path: Path | None = None
    data: bytes | None = None
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What runs in the container."""

    entrypoint: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=lambda: {"PATH": SEARCH_PATH})
    labels: Mapping[str, str] = field(default_factory=dict)


def layer(store: Store, entries: Mapping[str, Entry]) -> Layer:
    """Store a layer with the given entries by relative name; parents are added.

    Raises:
        ResourceError: no space left.
    """
    whole = {**_parents(entries), **entries}
    return pack_layer(store, lambda sink: _write_entries(whole, sink))


def pack_layer(store: Store, write: Callable[[Sink], None], level: int = LEVEL) -> Layer:
    """Store a layer whose plain tar is what ``write`` writes, in pieces of any size.

    Raises:
        ResourceError: no space left.
        Exception: whatever ``write`` raised; nothing is stored then.
    """
    with store.using():
        with files.explained(store.ingest):
            descriptor, name = tempfile.mkstemp(prefix="layer-", dir=store.ingest)
        temp = Path(name)
        with failures.closing(lambda: temp.unlink(missing_ok=True)):
            with os.fdopen(descriptor, "wb") as target, files.explained(temp):
                diff_id = _pack(write, target, level)
            stored, size = store.adopt(temp)
    return Layer(StoredBlob(LAYER, stored, size), diff_id)


def _parents(entries: Iterable[str]) -> dict[str, Entry]:
    names = {str(parent) for name in entries for parent in PurePosixPath(name).parents}
    return {name: Entry() for name in names - {"."}}


def _pack(write: Callable[[Sink], None], target: IO[bytes], level: int) -> str:
    # At least one worker: without any, zstd does not cut its input into jobs and gives other bytes.
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, write_checksum=True, threads=max(1, os.cpu_count() or 1)
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with compressor.stream_writer(target, closefd=False) as writer:
        sink = Sink(writer)
        write(sink)
    return sink.digest


def _write_entries(entries: Mapping[str, Entry], sink: Sink) -> None:
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for name in sorted(entries):
            interrupt.check()
            _add(archive, name, entries[name])


def _add(archive: tarfile.TarFile, name: str, entry: Entry) -> None:
    header = tarfile.TarInfo(name)  # uid, gid, mtime are 0 and the owner's names empty
    header.mode = entry.mode
    if entry.link:
        header.type, header.linkname, header.mode = tarfile.SYMTYPE, entry.link, 0o777
        archive.addfile(header)
    elif entry.data is not None:
        header.size = len(entry.data)
        archive.addfile(header, io.BytesIO(entry.data))
    elif entry.path is not None:
        header.size = entry.path.stat().st_size
        with entry.path.open("rb") as stream:
            archive.addfile(header, stream)
    else:
        header.type = tarfile.DIRTYPE
        archive.addfile(header)


class Sink:
    """Takes the plain tar of a layer: passes writes on, keeps the digest of what went through."""

    def __init__(self, target: zstandard.ZstdCompressionWriter) -> None:
        self._target = target
        self._state = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._state.update(data)
        self._target.write(data)
        return len(data)

    @property
    def digest(self) -> str:
        return "sha256:" + self._state.hexdigest()


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def assemble(store: Store, arch: str, layers: Iterable[Layer], config: ImageConfig) -> str:
    """Store config and manifest of an image; return the digest of the manifest."""
    stack = tuple(layers)
    config_data = _json(
        {
            "architecture": arch,
            "os": "linux",
            "config": {
                "Entrypoint": list(config.entrypoint),
                "Env": [f"{name}={value}" for name, value in sorted(config.env.items())],
                "Labels": dict(config.labels),
            },
            "rootfs": {"type": "layers", "diff_ids": [part.diff_id for part in stack]},
        }
    )
    own = StoredBlob(CONFIG, store.put_bytes(config_data), len(config_data))
    return store.put_bytes(manifest_bytes(own, [part.descriptor for part in stack]))


def manifest_bytes(config: StoredBlob, layers: Iterable[StoredBlob]) -> bytes:
    """Return an image manifest: the same bytes for the same blobs."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.document(),
            "layers": [part.document() for part in layers],
        }
    )


def image_blobs(store: Store, manifest_digest: str) -> tuple[StoredBlob, ...]:
    """Return the blobs of an image: manifest, config, layers; whether or not they are there.

    Raises:
        NotFoundError: the manifest is not in the store.
        IntegrityError: it is no manifest of one image.
    """
    with store.locate(manifest_digest).open() as stream:
        data = stream.read()
    try:
        document = json.loads(data)
        parts = [document["config"], *document["layers"]]
        found = [StoredBlob(part["mediaType"], part["digest"], part["size"]) for part in parts]
        media_type = document.get("mediaType", MANIFEST)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            "a cached image has no readable manifest",
            why=f"{manifest_digest}: {type(error).__name__}: {error}",
            hint="run `ohmykube up` again to fetch it anew",
            id="OMK-I-210",
        ) from error
    return (StoredBlob(media_type, manifest_digest, len(data)), *found)


def image_size(store: Store, manifest_digest: str) -> int:
    """Return the bytes of all blobs of an image; raises as ``image_blobs``."""
    return sum(blob.size for blob in image_blobs(store, manifest_digest))


def is_complete(store: Store, manifest_digest: str) -> bool:
    """Tell whether all blobs of an image are in the store."""
    try:
        blobs = image_blobs(store, manifest_digest)
    except (NotFoundError, IntegrityError):
        return False
    return all(digest.is_digest(blob.digest) and store.has(blob.digest) for blob in blobs)


def write_archive(
    store: Store, refs: Iterable[Ref], stream: IO[bytes], without: Collection[str] = ()
) -> None:
    """Write images as one OCI archive that ``ctr images import`` and ``podman load`` read.

    Blobs shared by several images are in it once.

    Args:
        store: where the blobs are.
        refs: references of kind image; the reference's name becomes the image's name.
        stream: takes the tar; may be a pipe.
        without: digests of blobs that the reader has already and that are left out.

    Raises:
        NotFoundError: a blob is not in the store.
        IntegrityError: a blob is damaged; it is in quarantine now.
    """
    entries: dict[str, Entry] = {
        "oci-layout": Entry(data=b'{"imageLayoutVersion":"1.0.0"}', mode=0o644)
    }
    parts: dict[str, Blob] = {}
    manifests = []
    for ref in sorted(refs, key=lambda ref: ref.name):
        if ref.kind is not Kind.IMAGE:
            raise ValueError(f"not an image: {ref.name}")
        blobs = image_blobs(store, ref.digest)
        for blob in blobs:
            if blob.digest not in without:
                # Hashed, unless that was done since it last changed.
                parts[f"blobs/{blob.digest.replace(':', '/')}"] = store.trusted(blob.digest)
        manifests.append(index_entry(ref, blobs[0]))
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    entries["index.json"] = Entry(data=_json(index), mode=0o644)
    entries |= _parents([*entries, *parts])
    with tarfile.open(  # type: ignore[call-overload]
        fileobj=stream,
        mode="w|",
        format=tarfile.PAX_FORMAT,
        bufsize=digest.CHUNK,
        copybufsize=digest.CHUNK,
    ) as archive:
        for name in sorted([*entries, *parts]):
            interrupt.check()
            if name in parts:
                _add_blob(archive, name, parts[name])
            else:
                _add(archive, name, entries[name])


def _add_blob(archive: tarfile.TarFile, name: str, blob: Blob) -> None:
    header = tarfile.TarInfo(name)
    header.mode, header.size = 0o644, blob.size
    with blob.open() as stream:
        archive.addfile(header, stream)


def index_entry(ref: Ref, manifest: StoredBlob) -> dict[str, Any]:
    """Return an image's entry of an ``index.json``."""
    return {
        **manifest.document(),
        "platform": {"os": "linux", "architecture": ref.arch},
        "annotations": {
            "io.containerd.image.name": ref.name,
            "org.opencontainers.image.ref.name": ref.name,
        },
    }


def index(store: Store, platforms: Mapping[str, str]) -> bytes:
    """Return an index of images that are one for several platforms.

    Args:
        store: where their manifests are.
        platforms: architecture to digest of the manifest.
    """
    manifests = [
        {
            **image_blobs(store, found)[0].document(),
            "platform": {"os": "linux", "architecture": arch},
        }
        for arch, found in sorted(platforms.items())
    ]
    return _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
