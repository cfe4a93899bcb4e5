"""Signatures: real keys and openssl behind a double of cosign, and the real gpg and gpgv.

The real cosign judges the same evidence in ``tests/e2e/test_signatures.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import signatures
from ohmykube.cache.catalog import Form
from ohmykube.cache.refs import Ref, Signature
from ohmykube.cache.signatures import Evidence, Verifier
from ohmykube.cache.store import Store
from ohmykube.errors import IntegrityError
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind
from tests import publisher
from tests.publisher import IDENTITY, ISSUER, Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = b"kubelet" * 1000
INSECURE = ("--insecure-ignore-tlog=true", "--insecure-ignore-sct=true")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    return directory


@pytest.fixture
def verifier(tmp_path: Path, programs: Path, signer: Publisher) -> Verifier:
    publisher.install_double(programs)
    (tmp_path / "keyrings").mkdir()
    options = (*INSECURE, "--ca-roots", str(signer.authority))
    return Verifier(tmp_path / "keyrings", cosign_options=options)


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "kubelet"
    path.write_bytes(DATA)
    return path


def proof(form: Form, parts: dict[str, str], **more: str) -> Evidence:
    return Evidence(
        artifact=digests.of_bytes(DATA),
        url="https://dl.test/kubelet",
        form=form,
        parts=parts,
        **{"identity": IDENTITY, "issuer": ISSUER, **more},
    )


def made(signer: Publisher, form: Form) -> Evidence:
    parts = signer.pair(DATA) if form is Form.COSIGN_PAIR else signer.bundle(DATA)
    return proof(form, parts)


FORMS = [Form.COSIGN_PAIR, Form.COSIGN_BUNDLE]


@pytest.mark.parametrize("form", FORMS)
def test_a_signature_is_verified(
    verifier: Verifier, signer: Publisher, blob: Path, form: Form
) -> None:
    verdict = verifier.check(blob, made(signer, form))
    assert verdict.state is Signature.VERIFIED
    assert verdict.why == f"signed by {IDENTITY}"


@pytest.mark.parametrize("form", FORMS)
def test_what_was_tampered_with_fails(
    verifier: Verifier, signer: Publisher, blob: Path, tmp_path: Path, form: Form
) -> None:
    good = made(signer, form)
    blob.write_bytes(DATA + b"x")
    assert verifier.check(blob, good).state is Signature.FAILED
    blob.write_bytes(DATA)
    someone = replace(good, identity="mallory@example.test")
    assert "identities" in verifier.check(blob, someone).why
    stranger = made(Publisher.make(tmp_path, "stranger"), form)
    verdict = verifier.check(blob, stranger)
    assert (verdict.state, "unknown authority" in verdict.why) == (Signature.FAILED, True)
    other = signer.pair(b"other") if form is Form.COSIGN_PAIR else signer.bundle(b"other")
    assert verifier.check(blob, replace(good, parts=other)).state is Signature.FAILED
    assert verifier.check(blob, replace(good, parts={})).state is Signature.FAILED


def test_without_a_verifier_it_is_unchecked(
    verifier: Verifier, signer: Publisher, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs = [made(signer, form) for form in FORMS]
    monkeypatch.setenv("PATH", "/nowhere")
    for evidence in proofs:
        verdict = verifier.check(blob, evidence)
        assert (verdict.state, verdict.why) == (Signature.UNCHECKED, "`cosign` is not on PATH")
    verdict = verifier.check(blob, proof(Form.PGP, {"signature": "x"}, keyring="runc"))
    assert (verdict.state, verdict.why) == (Signature.UNCHECKED, "`gpgv` is not on PATH")


@pytest.mark.parametrize(
    "said",
    [
        'getting rekor public keys: Get "https://x/y": dial tcp: lookup x: no such host',
        "unknown flag: --certificate",
        "error updating to TUF remote mirror",
    ],
)
def test_a_verifier_that_could_not_look_has_not_seen_a_wrong_signature(
    verifier: Verifier, signer: Publisher, blob: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("COSIGN_SAYS", said)
    verdict = verifier.check(blob, made(signer, Form.COSIGN_PAIR))
    assert verdict.state is Signature.UNCHECKED
    assert said in verdict.why


def test_a_trusted_root_of_the_user_is_handed_over(
    verifier: Verifier, signer: Publisher, blob: Path, tmp_path: Path, programs: Path
) -> None:
    (tmp_path / "keyrings" / signatures.TRUSTED_ROOT).write_text(signer.trusted_root())
    log = tmp_path / "argv"
    program = programs / "cosign"
    program.write_text(f'#!/bin/sh\necho "$@" >"{log}"\n')
    assert verifier.check(blob, made(signer, Form.COSIGN_BUNDLE)).state is Signature.VERIFIED
    assert f"--trusted-root {tmp_path}/keyrings/trusted_root.json" in log.read_text()
    assert log.read_text().split()[-1] == str(blob)


# -- OpenPGP, with the real programs ---------------------------------------------------------------


def gpg(home: Path, *words: str, data: bytes = b"") -> bytes:
    argv = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback"]
    argv += ["--passphrase", "", "--yes", *words]
    return subprocess.run(argv, input=data, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def pgp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of gpg with one key."""
    # Its agent's socket wants a short path.
    home = tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    gpg(home, "--quick-gen-key", "runc <runc@example.test>", "ed25519", "sign", "never")
    yield home
    subprocess.run(
        ["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True
    )


def test_openpgp(verifier: Verifier, pgp: Path, blob: Path, tmp_path: Path) -> None:
    text = gpg(pgp, "--armor", "--detach-sign", "--output", "-", data=DATA).decode()
    good = proof(Form.PGP, {"signature": text}, identity="", issuer="", keyring="runc")
    verdict = verifier.check(blob, good)
    assert verdict.state is Signature.UNCHECKED
    assert "there is no keyring" in verdict.why
    (tmp_path / "keyrings/runc.gpg").write_bytes(gpg(pgp, "--export"))
    verdict = verifier.check(blob, good)
    assert (verdict.state, verdict.why) == (Signature.VERIFIED, "signed by keyring runc")
    assert verifier.check(blob, replace(good, parts={})).state is Signature.FAILED
    assert verifier.check(blob, replace(good, keyring="../x")).state is Signature.UNCHECKED
    blob.write_bytes(DATA + b"x")
    verdict = verifier.check(blob, good)
    assert verdict.state is Signature.FAILED
    assert "BAD signature" in verdict.why


def test_a_key_that_is_not_in_the_keyring_fails(
    verifier: Verifier, pgp: Path, blob: Path, tmp_path: Path
) -> None:
    text = gpg(pgp, "--armor", "--detach-sign", "--output", "-", data=DATA).decode()
    (tmp_path / "keyrings/other.gpg").write_bytes(b"")
    verdict = verifier.check(blob, proof(Form.PGP, {"signature": text}, keyring="other"))
    assert verdict.state is Signature.FAILED


# -- what is recorded ------------------------------------------------------------------------------


def test_evidence_reads_as_it_was_written(signer: Publisher) -> None:
    evidence = made(signer, Form.COSIGN_PAIR)
    assert Evidence.load(evidence.dump()) == evidence
    assert evidence.dump() == Evidence.load(evidence.dump()).dump()
    good = json.loads(evidence.dump())
    for change in ({"schema": 2}, {"form": "x"}, {"parts": []}, {"more": 1}):
        with pytest.raises(ValueError, match=r".+"):
            Evidence.load(json.dumps({**good, **change}).encode())
    for text in (b"", b"[]", b"{}", b"\xff"):
        with pytest.raises(ValueError, match=r".+"):
            Evidence.load(text)


def ref(digest: str, **more: object) -> Ref:
    named = {"name": "upstream:kubelet", "kind": Kind.BINARY, "source": "upstream", **more}
    return Ref(version="1", arch="amd64", digest=digest, size=1, **named)  # type: ignore[arg-type]


def test_a_cache_is_judged_again(
    verifier: Verifier, signer: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "cache")
    signed = ref(store.put_bytes(DATA), signature=Signature.UNCHECKED)
    store.set_ref(signed)
    signatures.keep(store, made(signer, Form.COSIGN_PAIR), signed)
    module = "k8s.io/x@v1 h1:abc= (sum.golang.org)"
    for name, more in {
        "kubeadm": {"source": "build", "upstream_sum": module},
        "upstream:ctr": {"signature": Signature.ABSENT},
        "upstream:lost": {"signature": Signature.VERIFIED},
        "upstream:later": {"signature": Signature.UNCHECKED},
        "kubeadm-package": {"kind": Kind.PACKAGE},
        "registry.k8s.io/pause:3": {"kind": Kind.IMAGE},
    }.items():
        store.set_ref(ref(store.put_bytes(name.encode()), name=name, **more))
    reports = {report.ref.name: report for report in signatures.verify(store, verifier)}
    assert {name: report.state.value for name, report in reports.items()} == {
        "upstream:kubelet": "verified",
        "kubeadm": "absent",
        "upstream:ctr": "absent",
        "upstream:lost": "unchecked",
        "upstream:later": "unchecked",
        "kubeadm-package": "absent",
        "registry.k8s.io/pause:3": "unchecked",
    }
    assert module in reports["kubeadm"].why
    paths = {name: store.path(report.ref.digest) for name, report in reports.items()}
    for names, state in (
        (("upstream:kubelet",), "verified"),
        (("upstream:kubelet", "kubeadm"), "absent"),
        (("upstream:kubelet", "upstream:later", "upstream:ctr"), "unchecked"),
        ((), "unchecked"),
    ):
        assert signatures.weakest(store, [paths[name] for name in names]).value == state
    key = (Kind.BINARY, "kubeadm", "1", "amd64")
    assert [r.ref.name for r in signatures.verify(store, verifier, only={key})] == ["kubeadm"]
    found = store.ref(Kind.BINARY, "upstream:kubelet", "1", "amd64")
    assert found is not None
    assert found.signature is Signature.VERIFIED
    monkeypatch.setenv("COSIGN_SAYS", "invalid signature")
    reports = {report.ref.name: report for report in signatures.verify(store, verifier)}
    assert reports["upstream:kubelet"].state is Signature.FAILED
    assert reports["upstream:kubelet"].why == "Error: invalid signature"


def test_a_damaged_file_is_not_judged(
    verifier: Verifier, signer: Publisher, tmp_path: Path
) -> None:
    store = Store(tmp_path / "cache")
    signed = ref(store.put_bytes(DATA))
    store.set_ref(signed)
    signatures.keep(store, made(signer, Form.COSIGN_PAIR), signed)
    path = store.path(signed.digest)
    path.chmod(0o644)
    path.write_bytes(DATA + b"x")
    with pytest.raises(IntegrityError, match="damaged"):
        signatures.verify(store, verifier)


def test_evidence_about_another_file_counts_as_none(
    verifier: Verifier, signer: Publisher, tmp_path: Path
) -> None:
    store = Store(tmp_path / "cache")
    signed = ref(store.put_bytes(DATA))
    store.set_ref(signed)
    evidence = made(signer, Form.COSIGN_PAIR)
    signatures.keep(store, evidence, signed)
    (kept,) = filter(signatures.is_evidence, store.refs())
    other = replace(evidence, artifact=digests.of_bytes(b"other")).dump()
    store.set_ref(replace(kept, digest=store.put_bytes(other)))
    assert signatures.evidence(store) == {}
    store.set_ref(replace(kept, digest=store.put_bytes(b"no json")))
    assert signatures.evidence(store) == {}
    assert [report.state for report in signatures.verify(store, verifier)] == [Signature.ABSENT]
