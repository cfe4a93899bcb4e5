"""An image can be had by every digest it has: its manifest's, and that of its registry's index."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.manifest import OCI_INDEX, OCI_MANIFEST
from ohmykube.cache.prune import prune
from ohmykube.cache.serve.cluster_artifacts import OCTETS, ClusterArtifacts
from ohmykube.cache.store import Ref, Store
from ohmykube.model.artifact import Kind
from tests import image_maker

if TYPE_CHECKING:
    from pathlib import Path

ARCHES = ("amd64", "arm64")
REF = "registry.k8s.io/pause:3.10"


def kept(store: Store) -> tuple[image_maker.Image, str]:
    """Return an image of the store and the digest of its index, which lists one that is not."""
    image, other = image_maker.image(900), image_maker.image(900, seed=2, arch="arm64")
    entries = [
        {
            **image_maker.describe(made.manifest, OCI_MANIFEST),
            "platform": {"os": "linux", "architecture": arch},
        }
        for made, arch in ((image, "amd64"), (other, "arm64"))
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    index = store.put_bytes(json.dumps(document).encode())
    digest = image.put(store)
    store.set_ref(Ref(Kind.IMAGE, REF, "3.10", "amd64", digest, 1, "upstream", index=index))
    return image, index


def test_an_index_is_served_by_its_digest(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    image, index = kept(store)
    lock = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, image.digest))
    artifacts = ClusterArtifacts(store, lock)
    found = artifacts.manifest("registry.k8s.io", "pause", index)
    with found.blob.open() as stream:
        assert json.loads(stream.read())["manifests"][0]["digest"] == image.digest
    assert found.media == OCI_INDEX
    # The tag leads to what the lock names, so that nothing else is ever installed by it.
    tagged = artifacts.manifest("registry.k8s.io", "pause", "3.10")
    assert tagged.blob.digest == image.digest
    assert index in artifacts.digests
    store.discard(index)
    assert index not in ClusterArtifacts(store, lock).digests


def test_an_index_stays_as_long_as_its_image(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    image, index = kept(store)
    for path in (store.layout / "blobs/sha256").iterdir():
        os.utime(path, (1, 1))
    prune(store)
    assert set(store.digests()) == {index, image.digest, *image.blobs}
    store.drop_refs([store.refs()[0]])
    prune(store)
    assert store.digests() == ()


def test_one_tag_leads_nodes_of_each_architecture_to_their_own_image(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    images = {arch: image_maker.image(900, seed=n, arch=arch) for n, arch in enumerate(ARCHES)}
    locked = [
        dataclasses.replace(image_maker.locked(Kind.IMAGE, REF, image.put(store)), arch=arch)
        for arch, image in images.items()
    ]
    catalogue = ClusterArtifacts(store, image_maker.lock(*locked))
    tagged = catalogue.manifest("registry.k8s.io", "pause", "3.10")
    assert tagged.media == OCI_INDEX
    with tagged.blob.open() as stream:
        entries = json.loads(stream.read())["manifests"]
    assert {entry["platform"]["architecture"]: entry["digest"] for entry in entries} == {
        arch: image.digest for arch, image in images.items()
    }
    assert catalogue.manifest("registry.k8s.io", "pause", tagged.blob.digest) == tagged
    assert tagged.blob.digest in catalogue.digests
    for image in images.values():
        own = catalogue.manifest("registry.k8s.io", "pause", image.digest)
        assert (own.blob.digest, own.media) == (image.digest, OCI_MANIFEST)


def test_files_for_nodes_are_served_as_they_are_and_charts_are_not(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    file, chart = store.put_bytes(b"file"), store.put_bytes(b"chart")
    locked = image_maker.locked(Kind.FILE, "echo/file", file)
    other = image_maker.locked(Kind.CHART, "echo/chart", chart)
    catalogue = ClusterArtifacts(
        store, image_maker.lock(locked, dataclasses.replace(other, node_roles=()))
    )
    found = catalogue.package(file)
    assert (found.blob.digest, found.media, found.packed) == (file, OCTETS, False)
    with pytest.raises(KeyError):
        catalogue.package(chart)
