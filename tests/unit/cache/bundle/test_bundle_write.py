"""What is written: one form, readable by tar and by readers of OCI archives."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ohmykube.cache import releases
from ohmykube.cache.bundle import contents, document, parts, read
from ohmykube.cache.store import Store
from ohmykube.errors import IntegrityError, NotFoundError, ResourceError
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind, LockedArtifact
from tests import artifact_locks
from tests.image_maker import image
from tests.unit.cache.bundle.conftest import QUIET, file_ref, image_ref


def test_the_same_store_gives_the_same_bytes(workshop, tmp_path) -> None:
    workshop.write(tmp_path / "a.tar")
    workshop.wanted.reverse()
    for path in (workshop.store.layout / "blobs").rglob("*"):
        os.utime(path, (5, 5))
    workshop.write(tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert not list(tmp_path.glob(".*")), "a temporary file was left"


def test_members_are_in_their_order(bundle) -> None:
    with tarfile.open(bundle, "r:") as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert names[:4] == ["bundle.json", "oci-layout", "index.json", "refs.json"]
    assert all(name.startswith("blobs/sha256/") for name in names[4:])
    for member in members:
        assert (member.isreg(), member.mode, member.mtime, member.uid) == (True, 0o644, 0, 0)
    found = read.load(bundle)
    assert [entry.role for entry in found.bundle.blobs] == sorted(
        (entry.role for entry in found.bundle.blobs), key=document.ROLES.index
    )
    for role in document.ROLES:
        sizes = [entry.size for entry in found.bundle.blobs if entry.role == role]
        assert sizes == sorted(sizes)


def test_every_offset_leads_to_its_blob(bundle) -> None:
    data = bundle.read_bytes()
    places = read.load(bundle).places()
    assert len(places) == 9
    for digest, (offset, size) in places.items():
        assert hashlib.sha256(data[offset : offset + size]).hexdigest() == digest[7:]


def test_packages_are_no_images(bundle) -> None:
    index = json.loads(read.load(bundle).index)
    names = {e["annotations"]["org.opencontainers.image.ref.name"] for e in index["manifests"]}
    assert names == {"registry.test/app:1", "registry.test/api:2"}


def test_a_blob_of_two_roles_goes_to_the_nearer_one(workshop) -> None:
    store = workshop.store
    shared = image(700, 3000)  # the same layers as registry.test/app
    workshop.wanted = [(image_ref(store, shared, "registry.test/twin:1"), "control-plane")]
    workshop.wanted.append((image_ref(store, shared, "registry.test/app:1"), "node"))
    assert {entry.role for entry in workshop.content.entries} == {"node"}


def test_since_leaves_out_what_the_older_one_has(workshop, bundle, tmp_path) -> None:
    workshop.wanted.append(
        (image_ref(workshop.store, image(700, 90, seed=9), "r.test/new:1"), "node")
    )
    written = workshop.write(tmp_path / "new.omk.tar", since=read.load(bundle))
    found = read.load(tmp_path / "new.omk.tar")
    assert read.verify(found, QUIET) > 0
    assert found.bundle.since == read.load(bundle).digest
    assert len(found.bundle.absent) == 9
    assert len(written.bundle.blobs) == 4
    assert len(found.refs) == 5
    assert [e["annotations"]["org.opencontainers.image.ref.name"]
            for e in json.loads(found.index)["manifests"]] == ["r.test/new:1"]  # fmt: skip


def test_a_damaged_blob_leaves_no_file(workshop, tmp_path) -> None:
    entry = workshop.content.entries[-1]
    path = workshop.store.path(entry.digest)
    path.chmod(0o644)
    path.write_bytes(b"x" * entry.size)
    for form in ({}, {"split": 2048}):
        with pytest.raises((IntegrityError, NotFoundError)):
            workshop.write(tmp_path / "bad.omk.tar", **form)
        path.write_bytes(b"x" * entry.size)
    assert not list(tmp_path.glob("*bad*"))


def test_a_blob_that_changes_while_it_is_read(workshop, tmp_path, monkeypatch) -> None:
    entry = workshop.content.entries[-1]
    path = workshop.store.path(entry.digest)
    path.chmod(0o644)
    good = path.read_bytes()
    path.write_bytes(b"x" * entry.size)
    monkeypatch.setattr(Store, "verify", lambda *_: path.write_bytes(good))
    with pytest.raises(IntegrityError, match="changed while"):
        workshop.write(tmp_path / "bad.omk.tar")


def test_parts_join_to_the_whole(workshop, bundle, tmp_path) -> None:
    target = tmp_path / "parts.omk.tar"
    written = workshop.write(target, split=3000)
    sums, *pieces = written.paths
    assert b"".join(path.read_bytes() for path in pieces) == bundle.read_bytes()
    assert all(path.stat().st_size == 3000 for path in pieces[:-1])
    subprocess.run(["sha256sum", "--check", "--quiet", sums.name], cwd=tmp_path, check=True)
    assert not target.exists()
    for path in (target, sums):
        found = read.load(path)
        assert found.source.divided
        assert read.verify(found, QUIET) == sum(entry.size for entry in found.bundle.blobs)


def test_skopeo_reads_it(bundle) -> None:
    if shutil.which("skopeo") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("in CI skopeo must be there")
        pytest.skip("skopeo is not installed")
    done = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci-archive:{bundle}:registry.test/app:1"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert hashlib.sha256(done.stdout).hexdigest() == image(700, 3000).digest[7:]


def test_what_a_lock_needs(workshop) -> None:
    def locked(ref, roles) -> LockedArtifact:
        return LockedArtifact(
            kind=ref.kind, name=ref.name, version="x", arch="amd64", digest=ref.digest,
            size=1, source="build", node_roles=roles,
        )  # fmt: skip

    (app, _), (api, _), (package, _), _ = workshop.wanted
    artifacts = (
        locked(app, ("control-plane", "worker")), locked(api, ("control-plane",)),
        locked(package, ("control-plane", "worker")),
    )  # fmt: skip
    lock = artifact_locks.of(version="1.36.3", arch="amd64", artifacts=artifacts)
    assert contents.of_lock(workshop.store, lock) == [
        (ref, role) for ref, role in zip(
            [workshop.store.ref(*r.key) for r in (app, api, package)],
            ["node", "control-plane", "node"], strict=True,
        )
    ]  # fmt: skip
    workshop.store.drop_refs([app])
    with pytest.raises(NotFoundError, match="not in the cache any more"):
        contents.of_lock(workshop.store, lock)


def test_components_tell_what_packages_are_made_of(workshop) -> None:
    release = releases.release(releases.default_version())
    refs = tuple(ref for ref, _ in workshop.wanted)
    found = contents.components(refs, release)
    kubelet = next(c for c in found if c.name == "kubelet")
    assert (kubelet.part_of, kubelet.kind, kubelet.licence) == ("kubeadm", "binary", "unknown")
    assert kubelet.digest == refs[2].digest
    assert not [c for c in found if c.part_of == "containerd"], "that package is not in it"


def test_nothing_personal_is_in_it(workshop, tmp_path, bundle) -> None:
    """When things were used is nobody's business, and would change the bytes."""
    ref = file_ref(workshop.store, b"secret", Kind.FILE, "x")
    assert ref.digest
    data = document.write_refs([workshop.store.ref(*ref.key)])
    assert b"added_at" not in data
    assert b"pinned" not in data
    assert document.read_refs(data, "f")[0] == ref


def test_no_such_bundle(tmp_path) -> None:
    with pytest.raises(NotFoundError, match="there is no bundle"):
        parts.find(tmp_path / "nothing")
    for nowhere in ("", ".", "/"):
        with pytest.raises(NotFoundError, match="there is no bundle"):
            parts.find(Path(nowhere))


def test_a_file_system_for_small_files(workshop, tmp_path) -> None:
    """As FAT has it; the hint is to write parts."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(ResourceError, match="larger than its file system") as caught:
            workshop.write(tmp_path / "big.omk.tar")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "--split" in caught.value.hint
    assert not list(tmp_path.glob("*big*"))


def test_no_such_directory(workshop, tmp_path) -> None:
    with pytest.raises(NotFoundError, match="there is no directory"):
        workshop.write(tmp_path / "none" / "x.omk.tar")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.sampled_from([0, 1, 511, 512, 513, 9728, 10240]), min_size=1, max_size=5),
    split=st.sampled_from([0, 512, 1000, 10240, 1 << 20]),
)
def test_any_content_comes_back(workshop, tmp_path, sizes, split) -> None:
    """Whatever the sizes of blobs and of parts: the same digests are found again."""
    data = [bytes([number]) * size for number, size in enumerate(sizes)]
    workshop.wanted = [
        (file_ref(workshop.store, body, Kind.FILE, f"f{number}"), "other")
        for number, body in enumerate(data)
    ]
    target = tmp_path / "any.omk.tar"
    for old in tmp_path.glob("any.omk.tar*"):
        old.unlink()
    workshop.write(target, split=split)
    found = read.load(target)
    assert read.verify(found, QUIET) == sum(len(body) for body in set(data))
    assert {ref.digest for ref in found.refs} == {digests.of_bytes(body) for body in data}
