"""Repacked images: the same config and the same tars, in a form that nodes unpack quicker."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from ohmykube.cache import manifest, oci, repack
from ohmykube.cache.prune import Class, Policy, prune
from ohmykube.cache.serve.cluster_artifacts import ClusterArtifacts
from ohmykube.cache.store import Ref, Store
from ohmykube.errors import IntegrityError
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import ArtifactLock, Kind
from tests import artifact_locks, image_maker

if TYPE_CHECKING:
    from pathlib import Path

BIG = repack.WORTH + 50_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def put(store: Store, image: image_maker.Image, name: str = "app") -> Ref:
    image.put(store)
    size = oci.image_size(store, image.digest)
    full = f"docker.io/library/{name}:1"
    ref = Ref(Kind.IMAGE, full, "1", "amd64", image.digest, size, "load")
    store.set_ref(ref)
    return ref


def read(store: Store, digest: str) -> bytes:
    with store.locate(digest).open() as stream:
        return stream.read()


def make(store: Store, refs: list[Ref]) -> int:
    return repack.make(store, repack.plan(store, refs))


def edited(image: image_maker.Image, **config: Any) -> image_maker.Image:
    """Return the image with other fields in its config."""
    document = json.loads(image.manifest)
    old = document["config"]["digest"]
    text = json.dumps({**json.loads(image.blobs[old]), **config}).encode()
    document["config"] = image_maker.describe(text, document["config"]["mediaType"])
    blobs = {d: b for d, b in image.blobs.items() if d != old}
    blobs[digests.of_bytes(text)] = text
    return image_maker.Image(json.dumps(document).encode(), blobs)


def test_config_and_tars_are_the_same_and_only_large_gzip_layers_change(store: Store) -> None:
    image = image_maker.image(BIG, 1000)
    ref = put(store, image)
    assert list(repack.plan(store, [ref]).layers) == image.layers[:1]
    assert make(store, [ref]) == 1
    made = repack.known(store)[ref.digest]
    before, after = manifest.read(store, ref.digest), manifest.read(store, made)
    assert isinstance(before, manifest.Manifest)
    assert isinstance(after, manifest.Manifest)
    assert after.config == before.config
    assert after.layers[1] == before.layers[1]
    assert after.layers[0].media_type == oci.LAYER
    plain = gzip.decompress(read(store, before.layers[0].digest))
    packed = read(store, after.layers[0].digest)
    assert len(packed) == after.layers[0].size
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == plain
    (found,) = (ref for ref in store.refs() if ref.kind is Kind.REPACKED)
    assert (found.name, found.version, found.size) == (
        ref.digest, repack.FORM, oci.image_size(store, made),
    )  # fmt: skip


def test_what_is_there_is_not_made_again_and_a_shared_layer_is_packed_once(store: Store) -> None:
    base = image_maker.image(BIG)
    first, second = put(store, base, "a"), put(store, image_maker.with_layer(base, BIG, 7), "b")
    assert make(store, [first]) == 1
    assert make(store, [first]) == 0
    assert len(repack.plan(store, [second]).layers) == 1
    assert make(store, [first, second, second]) == 1
    one, two = (manifest.read(store, repack.known(store)[ref.digest]) for ref in (first, second))
    assert isinstance(one, manifest.Manifest)
    assert isinstance(two, manifest.Manifest)
    assert two.layers[0] == one.layers[0]


def test_an_image_all_of_whose_layers_were_repacked_for_others_gets_its_own(store: Store) -> None:
    image = image_maker.image(BIG)
    first, second = put(store, image, "a"), put(store, edited(image, author="somebody"), "b")
    make(store, [first])
    todo = repack.plan(store, [first, second])
    assert (todo.images[0][0].digest, todo.layers) == (second.digest, {})
    assert make(store, [first, second]) == 1
    assert repack.known(store).keys() == {first.digest, second.digest}
    assert repack.plan(store, [first, second]).images == []


@pytest.mark.parametrize("layers", [(), (1000, 2000)])
def test_an_image_without_such_layers_stays_as_it_is(store: Store, layers: tuple[int, ...]) -> None:
    ref = put(store, image_maker.image(*layers))
    assert repack.plan(store, [ref]).images == []
    assert make(store, [ref]) == 0
    assert repack.known(store) == {}


@pytest.mark.parametrize(
    "rootfs",
    [
        None,
        {"type": "layers"},
        {"diff_ids": ["sha256:" + "0" * 64, "sha256:" + "1" * 64]},
        {"diff_ids": ["sha256:" + "0" * 64]},
    ],
)
def test_a_config_that_does_not_describe_the_layers(store: Store, rootfs: object) -> None:
    ref = put(store, edited(image_maker.image(BIG), rootfs=rootfs))
    assert make(store, [ref]) == 0
    assert repack.known(store) == {}
    assert list(store.ingest.iterdir()) == []


@pytest.mark.parametrize("cut", ["short", "no gzip", "rubbish inside"])
def test_a_layer_that_cannot_be_unpacked_is_left_to_containerd(store: Store, cut: str) -> None:
    image = image_maker.image(BIG)
    data = image.blobs[image.layers[0]]
    middle = len(data) // 2
    broken = {
        "short": data[:middle],
        "no gzip": b"x" * len(data),
        "rubbish inside": data[:middle] + b"\xff" * 20_000 + data[middle + 20_000 :],
    }[cut]
    document = json.loads(image.manifest)
    document["layers"][0] |= {"digest": digests.of_bytes(broken), "size": len(broken)}
    blobs = {d: b for d, b in image.blobs.items() if d != image.layers[0]}
    blobs[digests.of_bytes(broken)] = broken
    ref = put(store, image_maker.Image(json.dumps(document).encode(), blobs))
    assert make(store, [ref]) == 0
    assert repack.known(store) == {}
    assert list(store.ingest.iterdir()) == []


def test_a_damaged_blob_is_no_matter_of_taste(store: Store) -> None:
    image = image_maker.image(BIG)
    ref = put(store, image)
    damage(store, image.layers[0])
    with pytest.raises(IntegrityError):
        make(store, [ref])


def damage(store: Store, digest: str) -> None:
    path = store.path(digest)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_docker_schema_2(store: Store) -> None:
    image = image_maker.image(BIG, media=manifest.DOCKER_MANIFEST)
    document = json.loads(image.manifest)
    document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    document["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    ref = put(store, image_maker.Image(json.dumps(document).encode(), image.blobs))
    assert make(store, [ref]) == 1
    made = manifest.read(store, repack.known(store)[ref.digest])
    assert made.media_type == manifest.OCI_MANIFEST


def test_an_incomplete_one_is_not_known_and_is_made_again(store: Store) -> None:
    ref = put(store, image_maker.image(BIG))
    make(store, [ref])
    made = manifest.read(store, repack.known(store)[ref.digest])
    assert isinstance(made, manifest.Manifest)
    store.discard(made.layers[0].digest)
    assert repack.known(store) == {}
    assert make(store, [ref]) == 1
    assert len(repack.known(store)) == 1


def lock_of(*refs: Ref) -> ArtifactLock:
    images = tuple(image_maker.locked(Kind.IMAGE, ref.name, ref.digest) for ref in refs)
    return artifact_locks.of(version="", arch="amd64", artifacts=images)


def test_it_is_served_by_its_digest_beside_the_image(store: Store) -> None:
    ref, other = put(store, image_maker.image(BIG)), put(store, image_maker.image(BIG, seed=2), "b")
    make(store, [ref, other])
    made, not_served = (repack.known(store)[one.digest] for one in (ref, other))
    artifacts = ClusterArtifacts(store, lock_of(ref))
    assert artifacts.manifest("docker.io", "library/app", made).blob.digest == made
    assert artifacts.manifest("docker.io", "library/app", "1").blob.digest == ref.digest
    parsed = manifest.read(store, made)
    assert isinstance(parsed, manifest.Manifest)
    layer = parsed.layers[0].digest
    assert artifacts.blob("docker.io", "library/app", layer).blob.digest == layer
    assert not_served not in artifacts.digests
    with pytest.raises(KeyError):
        artifacts.manifest("docker.io", "library/app", not_served)

    damage(store, layer)
    with pytest.raises(IntegrityError):
        artifacts.blob("docker.io", "library/app", layer)
    assert artifacts.damaged is None, "the image can still be had"


def test_it_goes_with_its_image_and_before_other_images(store: Store) -> None:
    ref, other = put(store, image_maker.image(BIG)), put(store, image_maker.image(BIG, seed=2), "b")
    make(store, [ref, other])
    everything = {(one.kind, one.name) for one in store.refs()}
    policy = Policy(grace=0, max_bytes=1 << 40)
    assert prune(store, policy).refs == ()
    assert {(one.kind, one.name) for one in store.refs()} == everything

    store.drop_refs([ref])
    assert repack.orphans(store.refs()) == list(prune(store, policy, dry_run=True).refs)
    gone = prune(store, policy)
    assert [(one.kind, one.name) for one in gone.refs] == [(Kind.REPACKED, ref.digest)]
    assert set(repack.known(store)) == {other.digest}

    small = prune(store, Policy(grace=0, max_bytes=other.size))
    assert [(one.kind, one.name) for one in small.refs] == [(Kind.REPACKED, other.digest)]
    (freed,) = (one for one in small.classes if one.items)
    assert freed.kind is Class.INTERMEDIATE
    assert oci.is_complete(store, other.digest)


def test_blobs_of_a_repacked_image_are_needed(store: Store) -> None:
    ref = put(store, image_maker.image(BIG))
    make(store, [ref])
    blobs = set(manifest.closure(store, repack.known(store)[ref.digest]))
    prune(store, Policy(grace=0, max_bytes=1 << 40))
    assert all(store.has(digest) for digest in blobs)
