"""Bundles in the cache: used in place, copied, added to each other, signed."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.bundle import document, import_bundle, read, sign
from ohmykube.cache.store import Signature, Store
from ohmykube.errors import IntegrityError, NotFoundError, PrerequisiteError, UsageError
from ohmykube.model.artifact import Kind
from ohmykube.testing.reporter import RecordingReporter
from tests.image_maker import image
from tests.unit.cache.bundle.conftest import QUIET, Workshop, image_ref

if TYPE_CHECKING:
    from pathlib import Path


def everything(store: Store, found: read.Archive) -> None:
    """See that each blob can be read and is what it should be."""
    for entry in found.bundle.blobs:
        assert store.locate(entry.digest).hash() == entry.digest
    for ref in found.refs:
        assert store.ref(*ref.key).digest == ref.digest


def test_in_place_copies_nothing(bundle, elsewhere) -> None:
    brought = import_bundle.attach(elsewhere, bundle, QUIET)
    everything(elsewhere, brought.archive)
    assert elsewhere.digests() == ()
    assert brought.copied_bytes == 0


def test_in_place_hashes_once(bundle, elsewhere) -> None:
    import_bundle.attach(elsewhere, bundle, QUIET)
    again = RecordingReporter()
    import_bundle.attach(elsewhere, bundle, again)
    assert not again.events
    data = bytearray(bundle.read_bytes())
    data[-20_000] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(IntegrityError):
        import_bundle.attach(elsewhere, bundle, again)
    assert again.events


def test_parts_cannot_be_used_in_place(divided, elsewhere) -> None:
    with pytest.raises(UsageError, match="parts") as caught:
        import_bundle.attach(elsewhere, divided, QUIET)
    assert f"ohmykube cache import {divided}" in caught.value.hint
    assert not elsewhere.root.exists()


@pytest.mark.parametrize("form", ["bundle", "divided"])
def test_a_copy_is_whole(request, elsewhere, form) -> None:
    path = request.getfixturevalue(form)
    brought = import_bundle.copy(elsewhere, path, QUIET)
    for left in path.parent.glob(path.name + "*"):
        left.unlink()
    everything(elsewhere, brought.archive)
    assert len(elsewhere.digests()) == brought.copied == 9
    assert elsewhere.ref(Kind.PACKAGE, "kubeadm", "1", "amd64").source == "build"


def test_a_copy_goes_on_where_it_was_stopped(bundle, elsewhere, monkeypatch) -> None:
    put, count = Store.put_stream, 0

    def dying(self, stream, *, expected=None):
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return put(self, stream, expected=expected)

    monkeypatch.setattr(Store, "put_stream", dying)
    with pytest.raises(KeyboardInterrupt):
        import_bundle.copy(elsewhere, bundle, QUIET)
    assert elsewhere.refs() == ()
    brought = import_bundle.copy(elsewhere, bundle, QUIET)
    assert (brought.copied, brought.present) == (5, 4)
    everything(elsewhere, brought.archive)
    again = import_bundle.copy(elsewhere, bundle, QUIET)
    assert (again.copied, again.copied_bytes, again.present) == (0, 0, 9)


def test_attached_blobs_are_copied_too(bundle, elsewhere) -> None:
    import_bundle.attach(elsewhere, bundle, QUIET)
    assert import_bundle.copy(elsewhere, bundle, QUIET).copied == 9
    bundle.unlink()
    assert all(elsewhere.has(digest) for digest in elsewhere.digests())


def test_a_damaged_blob_is_named_and_no_reference_set(bundle, elsewhere) -> None:
    found = read.load(bundle)
    package = next(ref for ref in found.refs if ref.kind is Kind.PACKAGE)
    data = bytearray(bundle.read_bytes())
    data[found.places()[package.digest][0]] ^= 1
    bundle.write_bytes(data)
    for take in (import_bundle.copy, import_bundle.attach):
        with pytest.raises(IntegrityError, match=r"kubeadm is damaged in dev\.omk\.tar"):
            take(elsewhere, bundle, QUIET)
    assert elsewhere.refs() == ()
    assert elsewhere.attached() == ()
    assert not elsewhere.has(package.digest)


@pytest.fixture
def addition(workshop: Workshop, bundle: Path, tmp_path: Path) -> Path:
    new = image_ref(workshop.store, image(700, 90, seed=9), "registry.test/new:1")
    workshop.wanted.append((new, "node"))
    target = tmp_path / "new.omk.tar"
    workshop.write(target, since=read.load(bundle))
    return target


@pytest.mark.parametrize("take", [import_bundle.attach, import_bundle.copy])
def test_an_addition_needs_what_it_adds_to(addition, bundle, elsewhere, take) -> None:
    with pytest.raises(NotFoundError) as caught:
        take(elsewhere, addition, QUIET)
    assert "image registry.test/app:1" in caught.value.why
    assert "package kubeadm" in caught.value.why
    assert "5 layers or configs" in caught.value.why
    assert "cache import" in caught.value.hint
    assert elsewhere.refs() == ()
    assert elsewhere.attached() == ()
    take(elsewhere, bundle, QUIET)
    brought = take(elsewhere, addition, QUIET)
    everything(elsewhere, brought.archive)
    assert len(elsewhere.refs()) == 5


def test_an_addition_to_an_addition(workshop, addition, bundle, tmp_path, elsewhere) -> None:
    """The older bundle's own older bundle counts as there."""
    third = image_ref(workshop.store, image(50, seed=12), "registry.test/third:1")
    workshop.wanted.append((third, "node"))
    workshop.write(tmp_path / "third.omk.tar", since=read.load(addition))
    found = read.load(tmp_path / "third.omk.tar")
    assert len(found.bundle.blobs) == 3
    for path in (bundle, addition, tmp_path / "third.omk.tar"):
        import_bundle.attach(elsewhere, path, QUIET)
    everything(elsewhere, found)


def test_an_index_travels_with_its_image(workshop, tmp_path, elsewhere) -> None:
    store = workshop.store
    ref = workshop.wanted[0][0]
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": ref.digest,
             "size": 1}  # fmt: skip
    index = store.put_bytes(document.text({"schemaVersion": 2, "manifests": [entry]}))
    lost = "sha256:" + "1" * 64
    workshop.wanted = [
        (replace(ref, index=index), "node"),
        (replace(workshop.wanted[1][0], index=lost), "node"),
    ]
    workshop.write(tmp_path / "i.omk.tar")
    found = read.load(tmp_path / "i.omk.tar")
    assert {r.name: r.index for r in found.refs} == {
        "registry.test/app:1": index,
        "registry.test/api:2": "",
    }
    read.verify(found, QUIET)
    import_bundle.attach(elsewhere, tmp_path / "i.omk.tar", QUIET)
    assert elsewhere.has(index)


# -- signatures ----------------------------------------------------------------------------------


def keypair(directory: Path, name: str, passphrase: str = "") -> Path:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f"]
    subprocess.run([*argv, str(directory / name)], check=True)
    return directory / name


def allowed(directory: Path, key: Path, who: str = "release@test") -> Path:
    target = directory / f"allowed-{key.name}"
    target.write_text(f"{who} {key.with_name(key.name + '.pub').read_text()}")
    return target


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return keypair(tmp_path, "key")


@pytest.fixture
def signed(workshop: Workshop, key: Path, tmp_path: Path) -> Path:
    target = tmp_path / "signed.omk.tar"
    assert workshop.write(target, key=key).signed
    return target


def test_a_signature_moves_no_offset(signed, bundle) -> None:
    with_, without = read.load(signed), read.load(bundle)
    assert with_.manifest == without.manifest
    assert with_.start > without.start
    assert with_.signature


def test_who_signed(signed, key, tmp_path, elsewhere) -> None:
    brought = import_bundle.attach(elsewhere, signed, QUIET, allowed(tmp_path, key))
    assert brought.signer == "release@test"
    found = read.load(signed)
    assert sign.key_of(found.manifest, found.signature).startswith("ED25519 key SHA256:")
    read.verify(found, QUIET)


def test_ssh_keygen_alone_can_check_it(signed, key, tmp_path) -> None:
    found = read.load(signed)
    (tmp_path / "bundle.json.sig").write_bytes(found.signature)
    argv = ["ssh-keygen", "-Y", "verify", "-n", "ohmykube-bundle", "-I", "release@test"]
    subprocess.run(
        [*argv, "-f", str(allowed(tmp_path, key)), "-s", str(tmp_path / "bundle.json.sig")],
        input=found.manifest, check=True, capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize("take", [import_bundle.attach, import_bundle.copy])
def test_whom_nobody_allowed(signed, bundle, tmp_path, elsewhere, take) -> None:
    other = allowed(tmp_path, keypair(tmp_path, "other"))
    for path, why in ((signed, "its signer is not in"), (bundle, "it is not signed")):
        with pytest.raises(IntegrityError, match="not accepted") as caught:
            take(elsewhere, path, QUIET, other)
        assert why in caught.value.why
    with pytest.raises(NotFoundError, match="allowed signers"):
        take(elsewhere, signed, QUIET, tmp_path / "nothing")
    assert not elsewhere.root.exists()


def test_a_signature_of_something_else(workshop, signed, key, tmp_path, elsewhere) -> None:
    """Another bundle's signature, and one made for another purpose."""
    workshop.wanted.pop()
    workshop.write(tmp_path / "other.omk.tar", key=key)
    names = allowed(tmp_path, key)
    mine, other = read.load(signed), read.load(tmp_path / "other.omk.tar")
    with pytest.raises(IntegrityError) as caught:
        sign.signer(mine.manifest, other.signature, names, "f")
    assert "its signature is not right" in caught.value.why
    assert sign.key_of(mine.manifest, other.signature) == ""
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", str(key)]
    (tmp_path / "bundle.json").write_bytes(mine.manifest)
    subprocess.run([*argv, str(tmp_path / "bundle.json")], check=True, capture_output=True)
    with pytest.raises(IntegrityError):
        sign.signer(mine.manifest, (tmp_path / "bundle.json.sig").read_bytes(), names, "f")
    with pytest.raises(IntegrityError):
        sign.signer(mine.manifest, b"no signature at all", names, "f")
    assert sign.key_of(mine.manifest, b"no signature at all") == ""


def test_keys_that_cannot_sign(workshop, tmp_path) -> None:
    with pytest.raises(NotFoundError, match="there is no key"):
        workshop.write(tmp_path / "x.omk.tar", key=tmp_path / "nothing")
    (tmp_path / "junk").write_text("junk")
    for key in (tmp_path / "junk", keypair(tmp_path, "locked", "secret")):
        with pytest.raises(PrerequisiteError, match="could not be signed") as caught:
            workshop.write(tmp_path / "x.omk.tar", key=key)
        assert "ssh-add" in caught.value.hint
    assert not (tmp_path / "x.omk.tar").exists()


@pytest.mark.parametrize("take", [import_bundle.attach, import_bundle.copy])
def test_what_an_unsigned_bundle_replaces_is_named(take, signed, key, tmp_path, elsewhere) -> None:
    ref = read.load(signed).refs[2]
    other = replace(ref, digest=elsewhere.put_bytes(b"another"))
    elsewhere.set_ref(other)
    told = RecordingReporter()
    brought = take(elsewhere, signed, told)
    assert brought.replaced == (f"{ref.kind} {ref.name} {ref.version}",)
    (line,) = [event.text for event in told.events if getattr(event, "level", "") == "warning"]
    assert ref.name in line
    assert other.digest in line
    assert ref.digest in line
    assert take(elsewhere, signed, told).replaced == ()
    elsewhere.set_ref(other)
    assert take(elsewhere, signed, told, allowed(tmp_path, key)).replaced == ()


def test_hearsay_about_publishers(workshop, signed, key, tmp_path, elsewhere) -> None:
    """Only somebody whom we allow to sign may say that a publisher's signature was right."""
    ref, role = workshop.wanted[2]
    workshop.wanted[2] = (replace(ref, signature=Signature.VERIFIED), role)
    workshop.write(tmp_path / "b.omk.tar", key=key)
    import_bundle.copy(elsewhere, tmp_path / "b.omk.tar", QUIET)
    assert elsewhere.ref(*ref.key).signature == Signature.UNCHECKED
    elsewhere.drop_refs([elsewhere.ref(*ref.key)])
    import_bundle.copy(elsewhere, tmp_path / "b.omk.tar", QUIET, allowed(tmp_path, key))
    assert elsewhere.ref(*ref.key).signature == Signature.VERIFIED
