"""Image archives into the store: whole and as they are, or not at all."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from ohmykube.cache.archive import archive_reader, image_names, images
from ohmykube.cache.manifest import OCI_MANIFEST
from ohmykube.cache.store import Store
from ohmykube.errors import (
    IntegrityError,
    Interrupted,
    NotFoundError,
    OhmykubeError,
    UsageError,
)
from ohmykube.kit import digest as digests
from ohmykube.kit import interrupt
from tests import image_maker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ohmykube.cache.store import Ref

APP = "docker.io/library/app:dev"
Files = dict[str, bytes]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def docker_files(made: image_maker.Image, *tags: str) -> Files:
    """Return what ``docker save`` writes: plain layers, the config, manifest.json at the end."""
    document = json.loads(made.manifest)
    config = document["config"]["digest"]
    layers = {
        f"{digest[7:]}/layer.tar": gzip.decompress(made.blobs[digest]) for digest in made.layers
    }
    listing = [{"Config": f"{config[7:]}.json", "RepoTags": list(tags), "Layers": list(layers)}]
    return {
        **layers,
        f"{config[7:]}.json": made.blobs[config],
        "repositories": b"{}",
        "manifest.json": json.dumps(listing).encode(),
    }


def as_file(path: Path, files: Files) -> Path:
    path.write_bytes(image_maker.tar(files))
    return path


def as_directory(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def as_gzip(path: Path, files: Files) -> Path:
    path.write_bytes(gzip.compress(image_maker.tar(files)))
    return path


def as_zstd(path: Path, files: Files) -> Path:
    path.write_bytes(zstandard.ZstdCompressor().compress(image_maker.tar(files)))
    return path


FORMS = [as_file, as_directory, as_gzip, as_zstd]
forms = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)


def load(path: Path, store: Store, name: str = "", arch: str = "amd64") -> tuple[Ref, ...]:
    with archive_reader.open_archive(path, store) as contents:
        found = images.read_images(contents, store, arch)
        return images.import_images(contents, found, store, name)


def left(store: Store) -> tuple[list[str], list[str], list[str]]:
    """Return blobs, references and what lies in ingest."""
    waiting = [p.name for p in store.ingest.iterdir()] if store.ingest.is_dir() else []
    return list(store.digests()), [ref.name for ref in store.refs()], waiting


@forms
def test_an_oci_image_keeps_every_byte(form: Callable, store: Store, tmp_path: Path) -> None:
    made = image_maker.image(200_000, 3000)
    (ref,) = load(form(tmp_path / "app", image_maker.oci_files(made, APP)), store)
    assert (ref.name, ref.version, ref.arch, ref.source) == (APP, "dev", "amd64", "load")
    assert ref.digest == made.digest
    assert ref.size == len(made.manifest) + sum(map(len, made.blobs.values()))
    for digest, data in {**made.blobs, made.digest: made.manifest}.items():
        assert store.path(digest).read_bytes() == data
    assert left(store) == (sorted([*made.blobs, made.digest]), [APP], [])


@forms
def test_a_docker_archive_gets_the_same_manifest_each_time(
    form: Callable, store: Store, tmp_path: Path
) -> None:
    made = image_maker.image(200_000, 3000)
    (ref,) = load(form(tmp_path / "app", docker_files(made, "app:dev")), store)
    manifest = json.loads(store.path(ref.digest).read_bytes())
    config = json.loads(store.path(manifest["config"]["digest"]).read_bytes())
    assert manifest["config"]["digest"] == json.loads(made.manifest)["config"]["digest"]
    assert [layer["digest"] for layer in manifest["layers"]] == config["rootfs"]["diff_ids"]
    assert {layer["mediaType"] for layer in manifest["layers"]} == {
        "application/vnd.oci.image.layer.v1.tar"
    }
    assert ref.name == APP
    again = load(as_file(tmp_path / "again", docker_files(made, "app:dev", "x/y:1")), store)
    assert {one.digest for one in again} == {ref.digest}
    assert [one.name for one in again] == [APP, "docker.io/x/y:1"]
    assert left(store)[2] == []


@pytest.mark.parametrize(
    ("pack", "media"),
    [(gzip.compress, "+gzip"), (zstandard.ZstdCompressor().compress, "+zstd")],
)
def test_a_docker_archive_with_compressed_layers(
    pack: Callable, media: str, store: Store, tmp_path: Path
) -> None:
    files = docker_files(image_maker.image(2000), "app:dev")
    (layer,) = [name for name in files if name.endswith("layer.tar")]
    files[layer] = pack(files[layer])
    (ref,) = load(as_file(tmp_path / "a", files), store)
    (found,) = json.loads(store.path(ref.digest).read_bytes())["layers"]
    assert found["mediaType"].endswith(media)
    assert found["digest"] == digests.of_bytes(files[layer])


def test_a_layer_is_hashed_once_however_often_it_is_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = docker_files(image_maker.image(2000), "app:dev")
    (layer,) = [name for name in files if name.endswith("layer.tar")]
    listing = json.loads(files["manifest.json"])
    listing.append({**listing[0], "RepoTags": ["other:dev"]})
    files["manifest.json"] = json.dumps(listing).encode()
    hashed: list[str] = []
    with archive_reader.open_archive(as_file(tmp_path / "a", files), store) as contents:
        digest = contents.digest
        monkeypatch.setattr(contents, "digest", lambda name: (hashed.append(name), digest(name))[1])
        found = images.read_images(contents, store, "amd64")
    assert [image.references[0] for image in found] == [APP, "docker.io/library/other:dev"]
    assert hashed == [layer]


def test_a_link_to_a_layer_of_the_same_archive(store: Store, tmp_path: Path) -> None:
    import tarfile

    files = docker_files(image_maker.image(2000), "app:dev")
    (layer,) = [name for name in files if name.endswith("layer.tar")]
    listing = json.loads(files["manifest.json"])
    listing[0]["Layers"] = ["old/layer.tar"]
    files["manifest.json"] = json.dumps(listing).encode()
    path = as_file(tmp_path / "a.tar", files)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("old/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, f"../{layer}"
        archive.addfile(link)
    (ref,) = load(path, store)
    assert store.has(digests.of_bytes(files[layer]))
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert load(packed, Store(tmp_path / "other"))[0].digest == ref.digest
    with tarfile.open(path, "a") as archive:
        link.name, link.linkname = "dangling", "nowhere"
        archive.addfile(link)
    with pytest.raises(IntegrityError, match="image archive"):
        load(path, store)


def index_of(*entries: tuple[image_maker.Image, str]) -> bytes:
    """Return an index of images for architectures."""
    manifests = [
        {
            **image_maker.describe(made.manifest, "application/vnd.oci.image.manifest.v1+json"),
            "platform": {"os": "linux", "architecture": arch},
        }
        for made, arch in entries
    ]
    return json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()


def several() -> tuple[Files, dict[str, image_maker.Image]]:
    """Return a layout whose one image is an index of two architectures."""
    made = {
        "amd64": image_maker.image(2000, seed=1),
        "arm64": image_maker.image(2000, seed=2, arch="arm64"),
    }
    index = index_of(*((image, arch) for arch, image in made.items()))
    top = image_maker.describe(index, "application/vnd.oci.image.index.v1+json")
    top["annotations"] = {"io.containerd.image.name": APP}
    blobs = {digests.of_bytes(index): index}
    for image in made.values():
        blobs |= {**image.blobs, image.digest: image.manifest}
    return {
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [top]}).encode(),
        **{f"blobs/{digest.replace(':', '/')}": data for digest, data in blobs.items()},
    }, made


@forms
@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_of_an_index_only_the_nodes_architecture_is_taken(
    form: Callable, arch: str, store: Store, tmp_path: Path
) -> None:
    files, made = several()
    (ref,) = load(form(tmp_path / "a", files), store, arch=arch)
    assert (ref.digest, ref.arch) == (made[arch].digest, arch)
    assert left(store)[0] == sorted([*made[arch].blobs, made[arch].digest])
    with pytest.raises(NotFoundError, match="no image for linux/riscv64") as caught:
        load(tmp_path / "a", store, arch="riscv64")
    assert "linux/amd64, linux/arm64" in (caught.value.why or "")


def test_entries_of_index_json_for_other_platforms_are_left_out(
    store: Store, tmp_path: Path
) -> None:
    files, made = several()
    entries = json.loads(index_of((made["amd64"], "amd64"), (made["arm64"], "arm64")))
    for entry in entries["manifests"]:
        entry["annotations"] = {"org.opencontainers.image.ref.name": APP}
    files["index.json"] = json.dumps(entries).encode()
    path = as_file(tmp_path / "a", files)
    assert load(path, store, arch="arm64")[0].digest == made["arm64"].digest
    with pytest.raises(NotFoundError, match="no image for linux/riscv64"):
        load(path, store, arch="riscv64")


@forms
@pytest.mark.parametrize("files", [image_maker.oci_files, docker_files])
def test_an_image_for_another_platform_is_refused(
    form: Callable, files: Callable, store: Store, tmp_path: Path
) -> None:
    made = image_maker.image(2000, arch="arm64")
    with pytest.raises(NotFoundError, match="no image for linux/amd64") as caught:
        load(form(tmp_path / "a", files(made, APP)), store)
    assert "linux/arm64" in (caught.value.why or "")
    assert left(store) == ([], [], [])


def edit(files: Files, name: str, change: Callable[[Any], Any]) -> Files:
    document = json.loads(files[name])
    made = change(document)
    return {**files, name: json.dumps(document if made is None else made).encode()}


def big(files: Files) -> str:
    """Return the name of the largest file."""
    return max(files, key=lambda name: len(files[name]))


def without(name: Callable[[Files], str]) -> Callable[[Files], Files]:
    return lambda files: {k: v for k, v in files.items() if k != name(files)}


def config_of(files: Files) -> str:
    return next(name for name, data in files.items() if b'"rootfs"' in data)


def flipped(files: Files) -> Files:
    data = bytearray(files[big(files)])
    data[700] ^= 1
    return {**files, big(files): bytes(data)}


OCI_FAULTS: dict[str, Callable[[Files], Files]] = {
    "lacks a layer": without(big),
    "lacks the config": without(config_of),
    "lacks the manifest": without(
        lambda files: next(
            n for n, d in files.items() if n.startswith("blobs/") and b'"layers"' in d
        )
    ),
    "a flipped bit": flipped,
    "another size": lambda files: {**files, big(files): files[big(files)] + b"x"},
    "index.json is none": lambda files: {**files, "index.json": b"{}"},
    "index.json is no JSON": lambda files: {**files, "index.json": b"{"},
    "index.json is empty": lambda files: {**files, "index.json": b'{"manifests": []}'},
    "index.json is large": lambda files: {**files, "index.json": bytes(5 << 20)},
    "a digest that is a path": lambda files: edit(
        files, "index.json", lambda d: d["manifests"][0].update(digest="sha256:../../../etc/x")
    ),
    "nothing of an image": lambda files: {"readme": b"hello"},
}
DOCKER_FAULTS: dict[str, Callable[[Files], Files]] = {
    "lacks a layer": without(big),
    "lacks the config": without(config_of),
    "a flipped bit": flipped,
    "manifest.json is no list": lambda files: {**files, "manifest.json": b"{}"},
    "manifest.json is no JSON": lambda files: {**files, "manifest.json": b"["},
    "manifest.json is empty": lambda files: {**files, "manifest.json": b"[]"},
    "manifest.json is deep": lambda files: {**files, "manifest.json": b"[" * 200_000},
    "an entry is text": lambda files: {**files, "manifest.json": b'["x"]'},
    "no layers": lambda files: edit(files, "manifest.json", lambda d: d[0].pop("Layers") and None),
    "a layer too few": lambda files: edit(
        files, "manifest.json", lambda d: d[0].update(Layers=d[0]["Layers"][1:])
    ),
    "layers are numbers": lambda files: edit(
        files, "manifest.json", lambda d: d[0].update(Layers=[1, 2])
    ),
    "tags are text": lambda files: edit(
        files, "manifest.json", lambda d: d[0].update(RepoTags="app")
    ),
    "too many layers": lambda files: edit(
        files, "manifest.json", lambda d: d[0].update(Layers=d[0]["Layers"] * 600)
    ),
    "a config elsewhere": lambda files: edit(
        files, "manifest.json", lambda d: d[0].update(Config="nowhere/passwd")
    ),
    "the config is a list": lambda files: {**files, config_of(files): b"[]"},
    "no rootfs": lambda files: edit(files, config_of(files), lambda d: d.update(rootfs=[])),
}
FAULTS = [
    *((image_maker.oci_files, case, fault) for case, fault in OCI_FAULTS.items()),
    *((docker_files, case, fault) for case, fault in DOCKER_FAULTS.items()),
]


@pytest.mark.parametrize("form", [as_file, as_directory, as_gzip])
@pytest.mark.parametrize(
    ("files", "fault"),
    [(files, fault) for files, _, fault in FAULTS],
    ids=[f"{files.__name__}: {case}" for files, case, _ in FAULTS],
)
def test_a_faulty_archive_leaves_nothing(
    form: Callable, files: Callable, fault: Callable, store: Store, tmp_path: Path
) -> None:
    made = image_maker.image(20_000, 300)
    path = form(tmp_path / "a", fault(files(made, APP)))
    with pytest.raises(IntegrityError):
        load(path, store)
    blobs, refs, waiting = left(store)
    assert (refs, waiting) == ([], [])
    # Of a file or directory, whole blobs that came before the bad one may be there, and no other.
    (config,) = [json.loads(data) for data in made.blobs.values() if b"rootfs" in data]
    assert set(blobs) <= {*made.blobs, *config["rootfs"]["diff_ids"]}
    assert all(store.verify(digest) for digest in blobs)


INDEX = "application/vnd.oci.image.index.v1+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"


def blob(data: bytes) -> Files:
    return {f"blobs/{digests.of_bytes(data).replace(':', '/')}": data}


def wrapped(files: Files, levels: int, **platform: str) -> Files:
    """Put an index around what ``index.json`` names, and another around that."""
    for _ in range(levels):
        entries = json.loads(files["index.json"])["manifests"]
        names = [entry.pop("annotations", None) for entry in entries]
        inner = json.dumps(
            {"manifests": [{**e, **({"platform": platform} if platform else {})} for e in entries]}
        ).encode()
        top = {**image_maker.describe(inner, INDEX), "annotations": names[0]}
        files = {**files, **blob(inner), "index.json": json.dumps({"manifests": [top]}).encode()}
    return files


@forms
@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize(
    "platform",
    [{}, {"os": ""}, {"os": "", "architecture": ""}, {"os": "linux", "architecture": "amd64"}],
)
def test_an_index_may_lead_to_an_index_and_leave_platforms_out(
    form: Callable, levels: int, platform: dict[str, str], store: Store, tmp_path: Path
) -> None:
    """The config of an image says what it is for."""
    made = image_maker.image(2000)
    files = wrapped(image_maker.oci_files(made, APP), levels, **platform)
    (ref,) = load(form(tmp_path / "a", files), store)
    assert (ref.name, ref.digest) == (APP, made.digest)


def test_indexes_do_not_lead_on_for_ever(store: Store, tmp_path: Path) -> None:
    files = wrapped(image_maker.oci_files(image_maker.image(2000), APP), 9)
    with pytest.raises(IntegrityError) as caught:
        load(as_file(tmp_path / "a", files), store)
    assert "lead to indexes" in (caught.value.why or "")


def no_image(**fields: object) -> bytes:
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": EMPTY, "size": 2}
    return json.dumps({"schemaVersion": 2, "config": empty, "layers": [empty], **fields}).encode()


EMPTY = digests.of_bytes(b"{}")
NO_IMAGES = {
    "a signature": (no_image(artifactType=SIGNATURE), SIGNATURE),
    "a config without a platform": (no_image(), "no platform"),
    "an index of artifacts": (b'{"artifactType": "text/x", "manifests": []}', "text/x"),
}


OTHER_TYPES = ("application/vnd.oci.artifact.manifest.v1+json", "application/vnd.cncf.x", "text/x")


@pytest.mark.parametrize("media", OTHER_TYPES)
def test_an_entry_of_a_type_that_no_image_has_is_not_even_read(
    media: str, store: Store, tmp_path: Path
) -> None:
    made = image_maker.image(2000)
    files = {**image_maker.oci_files(made, APP), **blob(b"no JSON")}
    entries = json.loads(files["index.json"])["manifests"]
    files["index.json"] = json.dumps(
        {"manifests": [image_maker.describe(b"no JSON", media), *entries]}
    ).encode()
    told: list[str] = []
    with archive_reader.open_archive(as_file(tmp_path / "a", files), store) as contents:
        (found,) = images.read_images(contents, store, "amd64", told.append)
    assert found.references == (APP,)
    assert media in told[0]


@pytest.mark.parametrize("index", [{"manifests": []}, {"manifests": None}, {"manifests": [None]}])
def test_an_index_of_nothing_is_no_image(
    index: dict[str, object], store: Store, tmp_path: Path
) -> None:
    """Beside an image it is passed over; an entry that is nothing is not an index of nothing."""
    made, data = image_maker.image(2000), json.dumps(index).encode()
    files = {**image_maker.oci_files(made, APP), **blob(data)}
    entries = json.loads(files["index.json"])["manifests"]
    files["index.json"] = json.dumps(
        {"manifests": [image_maker.describe(data, INDEX), *entries]}
    ).encode()
    if index["manifests"] == [None]:
        with pytest.raises(IntegrityError):
            load(as_file(tmp_path / "a", files), store)
    else:
        (ref,) = load(as_file(tmp_path / "a", files), store)
        assert ref.digest == made.digest


@forms
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", NO_IMAGES)
def test_what_is_no_image_is_passed_over_and_said(
    form: Callable, first: bool, kind: str, store: Store, tmp_path: Path
) -> None:
    """One entry that is no image does not refuse the others."""
    data, what = NO_IMAGES[kind]
    made = image_maker.image(2000)
    files = {**image_maker.oci_files(made, APP), **blob(data), **blob(b"{}")}
    entries = json.loads(files["index.json"])["manifests"]
    entries.insert(0 if first else 1, image_maker.describe(data, OCI_MANIFEST))
    files["index.json"] = json.dumps({"manifests": entries}).encode()
    told: list[str] = []
    with archive_reader.open_archive(form(tmp_path / "a", files), store) as contents:
        (found,) = images.read_images(contents, store, "amd64", told.append)
    assert found.references == (APP,)
    (line,) = told
    assert what in line


@pytest.mark.parametrize(("data", "what"), NO_IMAGES.values(), ids=NO_IMAGES)
def test_an_archive_of_nothing_but_such_things_has_no_image(
    data: bytes, what: str, store: Store, tmp_path: Path
) -> None:
    top = {"manifests": [image_maker.describe(data, OCI_MANIFEST)]}
    files = {**blob(data), **blob(b"{}"), "index.json": json.dumps(top).encode()}
    with pytest.raises(IntegrityError) as caught:
        load(as_file(tmp_path / "a", files), store)
    assert what in (caught.value.why or "")


def test_of_several_images_those_for_the_nodes_are_taken(store: Store, tmp_path: Path) -> None:
    ours, theirs = image_maker.image(2000), image_maker.image(3000, arch="arm64")
    both = {**image_maker.oci_files(ours, APP), **image_maker.oci_files(theirs, APP + "-arm")}
    entries = [
        json.loads(image_maker.oci_files(made, name)["index.json"])["manifests"][0]
        for made, name in ((theirs, APP + "-arm"), (ours, APP))
    ]
    both["index.json"] = json.dumps({"manifests": entries}).encode()
    (ref,) = load(as_file(tmp_path / "a", both), store)
    assert ref.digest == ours.digest


@forms
@pytest.mark.parametrize("empty", [None, []])
@pytest.mark.parametrize("files", [image_maker.oci_files, docker_files])
def test_an_image_without_layers_is_refused_before_a_node_is_touched(
    form: Callable, files: Callable, empty: object, store: Store, tmp_path: Path
) -> None:
    made = image_maker.image()
    config = next(d for d in made.blobs.values() if b"rootfs" in d)
    changed = config.replace(b'"diff_ids": []', b'"diff_ids": ' + json.dumps(empty).encode())
    document = {**json.loads(made.manifest), "layers": empty}
    document["config"] = image_maker.describe(changed, document["config"]["mediaType"])
    again = image_maker.Image(json.dumps(document).encode(), {digests.of_bytes(changed): changed})
    content = files(again, APP) if empty is not None else files_with_nulls(files, again)
    with pytest.raises(IntegrityError, match="has no layers"):
        load(form(tmp_path / "a", content), store)


def files_with_nulls(files: Callable, made: image_maker.Image) -> Files:
    if files is image_maker.oci_files:
        return files(made, APP)
    config = next(iter(made.blobs))
    listing = [{"Config": config, "RepoTags": [APP], "Layers": None}]
    return {config: made.blobs[config], "manifest.json": json.dumps(listing).encode()}


def test_hard_links_to_a_layer_are_followed(store: Store, tmp_path: Path) -> None:
    """``tar`` makes one of a file that it packs for the second time."""
    made = image_maker.image(2000)
    files = docker_files(made, APP)
    (layer,) = [name for name in files if name.endswith("layer.tar")]
    listing = json.loads(files.pop("manifest.json"))
    config = listing[0]["Config"]
    document = json.loads(files[config])
    document["rootfs"]["diff_ids"] *= 2
    files[config] = json.dumps(document).encode()
    listing[0]["Layers"] = [layer, "again/layer.tar"]
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in {**files, "manifest.json": json.dumps(listing).encode()}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("again/layer.tar")
        link.type, link.linkname = tarfile.LNKTYPE, layer
        archive.addfile(link)
    (ref,) = load(path, store)
    assert ref.name == APP


@pytest.mark.parametrize("target", ["nowhere", "../etc/passwd", "/etc/passwd", "again/layer.tar"])
def test_a_hard_link_that_leads_elsewhere_is_refused(
    target: str, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("again/layer.tar")
        link.type, link.linkname = tarfile.LNKTYPE, target
        archive.addfile(link)
    with pytest.raises(IntegrityError):
        load(path, store)


@pytest.mark.parametrize(
    "packed", [b"", gzip.compress(b"", mtime=0), zstandard.ZstdCompressor().compress(b"")]
)
def test_nothing_is_said_to_be_empty(packed: bytes, store: Store) -> None:
    """Such as what a program writes into a pipe that has failed."""
    stream = io.BufferedReader(io.BytesIO(packed))  # type: ignore[arg-type]
    with (
        pytest.raises(IntegrityError) as caught,
        archive_reader.read_stream(stream, "standard input", store),
    ):
        pass
    assert "it is empty" in (caught.value.why or "")


def test_a_layout_with_links_is_refused(store: Store, tmp_path: Path) -> None:
    made = image_maker.image(2000)
    root = as_directory(tmp_path / "a", image_maker.oci_files(made, APP))
    blob = root / "blobs" / "sha256" / made.layers[0][7:]
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="image archive"):
        load(root, store)
    assert left(store) == ([], [], [])


@pytest.mark.parametrize("form", [as_file, as_gzip])
def test_what_the_store_has_need_not_be_in_the_archive(
    form: Callable, store: Store, tmp_path: Path
) -> None:
    base = image_maker.image(20_000)
    load(as_file(tmp_path / "base", image_maker.oci_files(base, APP)), store)
    made = image_maker.with_layer(base, 2000, 5)
    files = image_maker.oci_files(made, APP)
    whole = form(tmp_path / "whole", files)
    partial = form(tmp_path / "partial", without(big)(files))
    assert load(partial, store)[0].digest == made.digest
    assert load(whole, store)[0].digest == made.digest
    assert store.refs()[0].digest == made.digest
    other = form(tmp_path / "other", {**files, big(files): b"other"})
    with pytest.raises(IntegrityError):
        load(other, store)


def test_a_config_from_the_store(store: Store, tmp_path: Path) -> None:
    made = image_maker.image(2000)
    made.put(store)
    files = without(config_of)(image_maker.oci_files(made, APP))
    assert load(as_file(tmp_path / "a", files), store)[0].digest == made.digest


@forms
def test_names(form: Callable, store: Store, tmp_path: Path) -> None:
    made = image_maker.image(2000)
    path = form(tmp_path / "a", image_maker.oci_files(made))
    with pytest.raises(UsageError, match="without a name"):
        load(path, store)
    assert left(store)[1] == []
    assert load(path, store, "docker.io/library/x:1")[0].name == "docker.io/library/x:1"


def test_one_name_for_several_images_is_refused(store: Store, tmp_path: Path) -> None:
    both = [docker_files(image_maker.image(2000, seed=n), f"app{n}") for n in (1, 2)]
    files = {**both[0], **both[1]}
    listing = [json.loads(one["manifest.json"])[0] for one in both]
    files["manifest.json"] = json.dumps(listing).encode()
    path = as_file(tmp_path / "a", files)
    with pytest.raises(UsageError, match="holds 2 images"):
        load(path, store, APP)
    assert len(load(path, store)) == 2


def test_nothing_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="cannot be read"):
        load(tmp_path / "absent", store)


def test_a_pipe_is_read_like_a_stream(store: Store, tmp_path: Path) -> None:
    made = image_maker.image(2000)
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as sink:
        sink.write(image_maker.oci_archive(made, APP))
    with (
        os.fdopen(reader, "rb") as stream,
        archive_reader.read_stream(stream, "-", store) as contents,
    ):
        (found,) = images.read_images(contents, store, "amd64")
        assert images.import_images(contents, [found], store)[0].digest == made.digest
    assert left(store)[2] == []


def test_a_stream_that_is_no_archive_leaves_nothing(store: Store) -> None:
    stream = io.BufferedReader(io.BytesIO(b"hello" * 1000))  # type: ignore[arg-type]
    with pytest.raises(OhmykubeError), archive_reader.read_stream(stream, "-", store):
        pass
    assert left(store) == ([], [], [])


FULL = {
    "app": "docker.io/library/app:latest",
    "app:dev": "docker.io/library/app:dev",
    "docker.io/app:dev": "docker.io/library/app:dev",
    "index.docker.io/app": "docker.io/library/app:latest",
    "team/app": "docker.io/team/app:latest",
    "localhost/app:dev": "localhost/app:dev",
    "localhost:5000/app": "localhost:5000/app:latest",
    "quay.io/a/b/c:1": "quay.io/a/b/c:1",
    f"app@sha256:{'0' * 64}": f"docker.io/library/app@sha256:{'0' * 64}",
}


@pytest.mark.parametrize("text", FULL)
def test_full_names(text: str) -> None:
    assert image_names.full(text) == FULL[text]
    assert image_names.full(FULL[text]) == FULL[text]


@pytest.mark.parametrize("text", ["--help", "App", "a b", "a:b:c", "a/", "/a", "a@sha256:1"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UsageError, match="is not an image name") as caught:
        image_names.full(text)
    assert caught.value.hint
    with pytest.raises(UsageError, match="name is empty"):
        image_names.full("")


def test_parts_of_names() -> None:
    assert image_names.tag_of("localhost:5000/app:dev") == "dev"
    assert image_names.tag_of(f"localhost:5000/app@sha256:{'0' * 64}") == ""
    assert image_names.repository_of("localhost:5000/app:dev") == "localhost:5000/app"
    assert (
        image_names.repository_of(f"localhost:5000/app@sha256:{'0' * 64}") == "localhost:5000/app"
    )
    assert image_names.of_annotations({"org.opencontainers.image.ref.name": "dev"}) == ()
    assert image_names.of_annotations({}) == ()


@forms
def test_a_stop_while_reading_leaves_nothing(form: Callable, store: Store, tmp_path: Path) -> None:
    path = form(tmp_path / "a", image_maker.oci_files(image_maker.image(3_000_000), APP))
    interrupt.requested.set()
    with pytest.raises(Interrupted):
        load(path, store)
    assert left(store) == ([], [], [])
