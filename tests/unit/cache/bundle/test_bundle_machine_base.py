"""The base of machines as a blob, and single files of packages."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import zstandard

from ohmykube.cache import pack
from ohmykube.cache.bundle import machine_base, tar_member
from ohmykube.cache.store import Store
from ohmykube.errors import IntegrityError, NotFoundError
from ohmykube.model.artifact import Kind
from tests.unit.cache.bundle.conftest import file_ref


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache")


def test_a_base_goes_in_once_and_comes_out_the_same(store, tmp_path) -> None:
    calls = []

    def export(target) -> None:
        calls.append(target)
        target.write_bytes(b"root file system " * 100_000)

    ref = machine_base.stored(store, "nspawn", "key", "amd64", export)
    assert machine_base.stored(store, "nspawn", "key", "amd64", export) == store.ref(*ref.key)
    assert len(calls) == 1
    taken = []
    machine_base.unpacked(store, store.ref(*ref.key), lambda path: taken.append(path.read_bytes()))
    assert taken == [b"root file system " * 100_000]
    assert list(store.ingest.iterdir()) == []


def test_it_unpacks_with_little_memory(store) -> None:
    ref = machine_base.stored(
        store, "p", "v", "amd64", lambda t: t.write_bytes(bytes(range(256)) * 99)
    )
    head = store.path(ref.digest).read_bytes()[:18]
    assert zstandard.get_frame_parameters(head).window_size <= 1 << 23


def test_an_export_that_fails_leaves_nothing(store) -> None:
    def export(target) -> None:
        target.write_bytes(b"half")
        raise IntegrityError("no")

    with pytest.raises(IntegrityError):
        machine_base.stored(store, "p", "v", "amd64", export)
    assert list(store.ingest.iterdir()) == []
    assert store.digests() == ()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"no zstd at all", "cannot be unpacked"),
        (zstandard.compress(b"other"), "does not have the digest"),
        (zstandard.compress(b"x" * 50_000)[:-9], "does not have the digest"),
    ],
)
def test_a_base_that_is_not_what_it_should_be(store, data, why) -> None:
    ref = file_ref(store, data, Kind.MACHINE_IMAGE, "p", content_digest="sha256:" + "0" * 64)
    with pytest.raises(IntegrityError, match="cannot be used") as caught:
        machine_base.unpacked(store, ref, lambda _: pytest.fail("must not be taken"))
    assert why in caught.value.why
    assert list(store.ingest.iterdir()) == []


def test_a_base_without_an_end(store, monkeypatch) -> None:
    ref = machine_base.stored(store, "p", "v", "amd64", lambda t: t.write_bytes(bytes(3 << 20)))
    monkeypatch.setattr(machine_base, "MAX_BYTES", 2 << 20)
    with pytest.raises(IntegrityError) as caught:
        machine_base.unpacked(store, ref, lambda _: pytest.fail("must not be taken"))
    assert "unpacks to more" in caught.value.why


def test_a_damaged_base(store) -> None:
    ref = machine_base.stored(store, "p", "v", "amd64", lambda t: t.write_bytes(b"base"))
    path = store.path(ref.digest)
    path.chmod(0o644)
    path.write_bytes(b"x" * ref.size)
    with pytest.raises(IntegrityError, match="damaged"):
        machine_base.unpacked(store, replace(ref), lambda _: pytest.fail("must not be taken"))


def test_one_file_of_a_package(store, tmp_path) -> None:
    (tmp_path / "kubectl").write_bytes(b"kubectl" * 1000)
    (tmp_path / "other").write_bytes(b"other")
    members = {
        "usr/local/bin/kubeadm": pack.Member(tmp_path / "other", 0o755),
        "usr/local/bin/kubectl": pack.Member(tmp_path / "kubectl", 0o755),
    }
    pack.pack(members, tmp_path / "p.tar.zst")
    digest, _ = store.put_file(tmp_path / "p.tar.zst")
    sink = io.BytesIO()
    tar_member.copy_to(store, digest, "usr/local/bin/kubectl", sink)
    assert sink.getvalue() == b"kubectl" * 1000
    for name in ("usr/local/bin/none", "usr/local/bin"):
        with pytest.raises(NotFoundError, match="is not in the package"):
            tar_member.copy_to(store, digest, name, sink)
