"""The real cosign judges what publishers sign; it is built from its Go module where it lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ohmykube.cache.catalog import Form
from ohmykube.cache.refs import Signature
from ohmykube.cache.signatures import TRUSTED_ROOT, Evidence, Verifier
from ohmykube.kit import digest as digests
from tests.publisher import IDENTITY, ISSUER, Publisher

pytestmark = [pytest.mark.nightly, pytest.mark.build]

COSIGN = "github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3"
BUILD_SECONDS = 3600
DATA = b"kubelet" * 1000
PRIVATE = ("--insecure-ignore-tlog=true", "--insecure-ignore-sct=true")
"""A certificate authority of one's own has no public log."""


@pytest.fixture(scope="module")
def cosign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if found := shutil.which("cosign"):
        return Path(found)
    directory = tmp_path_factory.mktemp("cosign")
    subprocess.run(
        ["go", "install", "-trimpath", "-ldflags", "-s -w", COSIGN],
        check=True,
        timeout=BUILD_SECONDS,
        env={**os.environ, "GOBIN": str(directory), "CGO_ENABLED": "0"},
    )
    return directory / "cosign"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(autouse=True)
def _on_path(cosign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{cosign.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def keyrings(tmp_path: Path, signer: Publisher) -> Path:
    (tmp_path / TRUSTED_ROOT).write_text(signer.trusted_root())
    return tmp_path


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "kubelet"
    path.write_bytes(DATA)
    return path


def proof(signer: Publisher, form: Form, data: bytes = DATA) -> Evidence:
    return Evidence(
        artifact=digests.of_bytes(DATA),
        url="https://dl.test/kubelet",
        form=form,
        parts=signer.pair(data) if form is Form.COSIGN_PAIR else signer.bundle(data),
        identity=IDENTITY,
        issuer=ISSUER,
    )


def private(keyrings: Path, signer: Publisher, form: Form) -> Verifier:
    roots = ("--ca-roots", str(signer.authority)) if form is Form.COSIGN_PAIR else ()
    return Verifier(keyrings, cosign_options=(*PRIVATE, *roots))


@pytest.mark.parametrize("form", [Form.COSIGN_PAIR, Form.COSIGN_BUNDLE])
def test_cosign_tells_good_from_bad(
    keyrings: Path, signer: Publisher, blob: Path, tmp_path: Path, form: Form
) -> None:
    verifier = private(keyrings, signer, form)
    good = proof(signer, form)
    verdict = verifier.check(blob, good)
    assert (verdict.state, verdict.why) == (Signature.VERIFIED, f"signed by {IDENTITY}")
    for wrong in (
        replace(good, identity="mallory@example.test"),
        replace(good, issuer="https://elsewhere.test"),
        proof(signer, form, b"another file"),
        proof(Publisher.make(tmp_path, "stranger"), form),
    ):
        assert verifier.check(blob, wrong).state is Signature.FAILED
    blob.write_bytes(DATA + b"x")
    assert verifier.check(blob, good).state is Signature.FAILED


def test_a_bundle_without_proof_of_the_log_is_refused(
    keyrings: Path, signer: Publisher, blob: Path
) -> None:
    """As users call it: no option that makes it forgive anything."""
    verdict = Verifier(keyrings).check(blob, proof(signer, Form.COSIGN_BUNDLE))
    assert verdict.state is Signature.FAILED
    assert "log" in verdict.why


def test_without_a_network_a_pair_is_unchecked(
    keyrings: Path, signer: Publisher, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof of a pair lies in the public log alone; here nobody answers."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    verdict = Verifier(keyrings).check(blob, proof(signer, Form.COSIGN_PAIR))
    assert verdict.state is Signature.UNCHECKED
    assert "could not look" in verdict.why
