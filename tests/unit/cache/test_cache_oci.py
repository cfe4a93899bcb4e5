"""Images: the same files give the same bytes, and other tools can read them."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard

from ohmykube.cache import oci
from ohmykube.cache.store import Ref, Store
from ohmykube.errors import IntegrityError, NotFoundError
from ohmykube.kit import digest
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def make(store: Store, directory: Path, content: bytes = b"program") -> str:
    directory.mkdir(exist_ok=True)
    program = directory / "coredns"
    program.write_bytes(content)
    tools = oci.layer(
        store,
        {
            "usr/bin/busybox": oci.Entry(data=b"busybox"),
            "bin": oci.Entry(link="usr/bin"),
            "tmp": oci.Entry(mode=0o1777),
        },
    )
    layers = [tools, oci.layer(store, {"usr/local/bin/coredns": oci.Entry(path=program)})]
    config = oci.ImageConfig(entrypoint=("/usr/local/bin/coredns",), labels={"a": "b"})
    return oci.assemble(store, "amd64", layers, config)


def unpacked(store: Store, layer: oci.StoredBlob) -> tuple[bytes, tarfile.TarFile]:
    with store.path(layer.digest).open("rb") as stream:
        raw = zstandard.ZstdDecompressor().stream_reader(stream).read()
    return raw, tarfile.open(fileobj=io.BytesIO(raw))


def test_an_image_is_the_same_wherever_and_whenever_it_is_made(tmp_path: Path) -> None:
    first = make(Store(tmp_path / "one"), tmp_path / "a")
    second = make(Store(tmp_path / "two"), tmp_path / "b")
    assert first == second
    assert make(Store(tmp_path / "two"), tmp_path / "c", b"other") != first


def test_an_image_describes_its_layers(store: Store, tmp_path: Path) -> None:
    manifest_digest = make(store, tmp_path / "a")
    manifest, config, tools, program = oci.image_blobs(store, manifest_digest)
    assert manifest == oci.StoredBlob(
        oci.MANIFEST, manifest_digest, store.path(manifest_digest).stat().st_size
    )
    document = json.loads(store.path(config.digest).read_bytes())
    assert document["architecture"] == "amd64"
    assert document["config"]["Entrypoint"] == ["/usr/local/bin/coredns"]
    assert document["config"]["Env"] == [f"PATH={oci.SEARCH_PATH}"]
    assert "created" not in document
    for layer, diff_id in zip((tools, program), document["rootfs"]["diff_ids"], strict=True):
        assert layer.media_type == oci.LAYER
        raw, _ = unpacked(store, layer)
        assert digest.of_bytes(raw) == diff_id
    assert oci.image_size(store, manifest_digest) == sum(
        store.path(blob.digest).stat().st_size for blob in (manifest, config, tools, program)
    )


def test_a_layer_belongs_to_root_and_carries_no_time(store: Store, tmp_path: Path) -> None:
    _, _, tools, program = oci.image_blobs(store, make(store, tmp_path / "a"))
    for blob in (tools, program):
        _, archive = unpacked(store, blob)
        members = archive.getmembers()
        assert [m.name for m in members] == sorted(m.name for m in members)
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    _, archive = unpacked(store, tools)
    assert archive.getmember("bin").linkname == "usr/bin"
    assert archive.getmember("tmp").mode == 0o1777
    assert archive.getmember("usr/bin").isdir()
    _, archive = unpacked(store, program)
    assert archive.getnames() == ["usr", "usr/local", "usr/local/bin", "usr/local/bin/coredns"]
    assert archive.getmember("usr/local/bin/coredns").mode == 0o755


def test_an_image_is_complete_only_with_all_its_blobs(store: Store, tmp_path: Path) -> None:
    manifest_digest = make(store, tmp_path / "a")
    assert oci.is_complete(store, manifest_digest)
    store.discard(oci.image_blobs(store, manifest_digest)[2].digest)
    assert not oci.is_complete(store, manifest_digest)
    assert not oci.is_complete(store, digest.of_bytes(b"never stored"))


@pytest.mark.parametrize(
    "data", [b"not json", b"[]", b"{}", b'{"config": 1, "layers": 2}', b'{"manifests": []}']
)
def test_what_is_no_manifest_is_said_to_be_none(store: Store, data: bytes) -> None:
    stored = store.put_bytes(data)
    with pytest.raises(IntegrityError):
        oci.image_blobs(store, stored)
    assert not oci.is_complete(store, stored)


def test_a_layer_leaves_nothing_behind_when_a_file_is_gone(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        oci.layer(store, {"x": oci.Entry(path=tmp_path / "gone")})
    assert list(store.ingest.iterdir()) == []
    assert store.digests() == ()


def reference(store: Store, manifest_digest: str, name: str, kind: Kind = Kind.IMAGE) -> Ref:
    return Ref(kind, name, "v1", "amd64", manifest_digest, 1, "build")


def test_an_exported_archive_holds_each_blob_once(store: Store, tmp_path: Path) -> None:
    one = reference(store, make(store, tmp_path / "a"), "registry.k8s.io/one:v1")
    two = reference(store, make(store, tmp_path / "b", b"other"), "registry.k8s.io/two:v1")
    target = io.BytesIO()
    oci.write_archive(store, [two, one], target)
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as archive:
        names = archive.getnames()
        assert len(names) == len(set(names))
        blobs = [name for name in names if name.startswith("blobs/sha256/")]
        assert len(blobs) == 2 + 2 + 1 + 2  # manifests, configs, one shared layer, two programs
        for name in blobs:
            stream = archive.extractfile(name)
            assert stream is not None
            assert digest.of_bytes(stream.read())[7:] == name.rpartition("/")[2]
        index = json.loads(archive.extractfile("index.json").read())  # type: ignore[union-attr]
        assert [m["annotations"]["io.containerd.image.name"] for m in index["manifests"]] == [
            one.name,
            two.name,
        ]
        assert archive.extractfile("oci-layout") is not None
    again = io.BytesIO()
    oci.write_archive(store, [one, two], again)
    assert again.getvalue() == target.getvalue()


def test_an_export_takes_images_only_and_all_their_blobs(store: Store, tmp_path: Path) -> None:
    manifest_digest = make(store, tmp_path / "a")
    target = io.BytesIO()
    with pytest.raises(ValueError, match="not an image"):
        oci.write_archive(store, [reference(store, manifest_digest, "x", Kind.BINARY)], target)
    store.discard(oci.image_blobs(store, manifest_digest)[3].digest)
    with pytest.raises(NotFoundError):
        oci.write_archive(store, [reference(store, manifest_digest, "x")], target)
    assert target.getvalue() == b"", "nothing is written before all of it is known to be there"
