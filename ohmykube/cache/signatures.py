"""Publishers' signatures: what proves them is kept, and programs made for it decide.

Nothing here computes with keys. A sigstore signature is judged by ``cosign``, an OpenPGP one by
``gpgv``; without the program, its keyring or (for a signature whose proof lies in a public log) the
network, a signature is *unchecked*, and the reason is recorded. The sums of the catalog hold in any
case: a signature says in addition who made the file.

What a publisher signed with is stored beside the artifact as *evidence*, one small JSON document,
so that it can be judged again at any time, on any host that has the programs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.cache.catalog import Form
from ohmykube.cache.refs import Ref, Signature
from ohmykube.cache.sources.build_errors import GO_NETWORK
from ohmykube.errors import NotFoundError
from ohmykube.kit import files, process
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ohmykube.cache.refs import Key
    from ohmykube.cache.store import Store

SECONDS = 60.0
EVIDENCE = "signature-of"
"""Name of the references of evidence; their version is the artifact's digest."""
KEYRINGS = "keyrings"
"""Directory of the user's state where keys are looked for."""
PART_BYTES = 1 << 20
TRUSTED_ROOT = "trusted_root.json"
"""Beside the keyrings: sigstore's keys for hosts that cannot ask for them."""
_SCHEMA = 1
_CANNOT = (*GO_NETWORK, "error updating to TUF", "unknown flag", "unknown command")
"""What cosign says when it could not look, as opposed to having seen a wrong signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a publisher signed a file with, and whose signature it has to be."""

    artifact: str
    """Digest of the file that is signed."""
    url: str
    form: Form
    parts: Mapping[str, str]
    """Part, as ``Form`` names them, to its text."""
    identity: str = ""
    issuer: str = ""
    keyring: str = ""

    @property
    def signer(self) -> str:
        """Whose signature it must be."""
        return self.identity or f"keyring {self.keyring}"

    def dump(self) -> bytes:
        """Return the document that is stored; the same evidence gives the same bytes."""
        return json.dumps({"schema": _SCHEMA, **asdict(self)}, sort_keys=True, indent=1).encode()

    @classmethod
    def load(cls, data: bytes) -> Evidence:
        """Read what ``dump`` gave; raises ValueError."""
        try:
            document: dict[str, Any] = json.loads(data)
            if document.pop("schema") != _SCHEMA:
                raise ValueError("evidence of another schema")
            document["form"] = Form(document["form"])
            document["parts"] = {str(k): str(v) for k, v in document["parts"].items()}
            return cls(**document)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no evidence of a signature: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about one signature, and why."""

    state: Signature
    why: str


class Verifier:
    """Judges signatures with the programs of this host; safe to use from several threads."""

    def __init__(self, keyrings: Path, *, cosign_options: Sequence[str] = ()) -> None:
        """Name where keys are looked for; nothing is read yet.

        Args:
            keyrings: directory with ``<name>.gpg`` for ``gpgv`` and, where there is one,
                ``trusted_root.json`` for ``cosign``.
            cosign_options: further options of ``cosign verify-blob``, for a sigstore of one's own.
        """
        self._keyrings = keyrings
        self._cosign_options = tuple(cosign_options)

    def check(self, path: Path, proof: Evidence) -> Verdict:
        """Judge the signature of a file whose digest was checked before."""
        if proof.form is Form.PGP:
            return self._gpgv(path, proof)
        return self._cosign(path, proof)

    def _cosign(self, path: Path, proof: Evidence) -> Verdict:
        if process.which("cosign") is None:
            return Verdict(Signature.UNCHECKED, "`cosign` is not on PATH")
        options = ["--certificate-identity", proof.identity]
        options += ["--certificate-oidc-issuer", proof.issuer, *self._cosign_options]
        root = self._keyrings / TRUSTED_ROOT
        with _written(proof.parts) as parts:
            try:
                if proof.form is Form.COSIGN_BUNDLE:
                    options += ["--bundle", str(parts["bundle"])]
                    options += ["--trusted-root", str(root)] if root.is_file() else []
                else:
                    options += ["--signature", str(parts["signature"])]
                    options += ["--certificate", str(parts["certificate"])]
            except KeyError as error:
                return Verdict(Signature.FAILED, f"the signature has no part {error}")
            return _run(["cosign", "verify-blob", *options, str(path)], proof, _CANNOT)

    def _gpgv(self, path: Path, proof: Evidence) -> Verdict:
        keyring = self._keyrings / f"{proof.keyring}.gpg"
        if process.which("gpgv") is None:
            return Verdict(Signature.UNCHECKED, "`gpgv` is not on PATH")
        if "/" in proof.keyring or not keyring.is_file():
            return Verdict(Signature.UNCHECKED, f"there is no keyring {keyring}")
        with _written(proof.parts) as parts:
            if "signature" not in parts:
                return Verdict(Signature.FAILED, "the signature has no part 'signature'")
            argv = ["gpgv", "--keyring", str(keyring), str(parts["signature"]), str(path)]
            return _run(argv, proof, ())


@contextlib.contextmanager
def _written(parts: Mapping[str, str]) -> Any:
    """Give the parts as files, under names of our own."""
    directory = Path(tempfile.mkdtemp(prefix=files.TEMP_PREFIX))
    try:
        paths = {}
        for number, (name, text) in enumerate(sorted(parts.items())):
            paths[name] = directory / f"part-{number}"
            paths[name].write_text(text)
        yield paths
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(argv: list[str], proof: Evidence, cannot: tuple[str, ...]) -> Verdict:
    try:
        process.run(argv, timeout=SECONDS, env={**os.environ, "LC_ALL": "C"})
    except process.CommandFailed as error:
        said = process.tail(f"{error.result.stdout}\n{error.result.stderr}", 3)
        if error.timed_out or any(words in said for words in cannot):
            reason = f"`{argv[0]}` could not look: {said or error.message}"
            return Verdict(Signature.UNCHECKED, reason)
        return Verdict(Signature.FAILED, said)
    return Verdict(Signature.VERIFIED, f"signed by {proof.signer}")


# -- what is recorded -----------------------------------------------------------------------------


def keep(store: Store, proof: Evidence, about: Ref) -> None:
    """Store evidence beside the artifact that ``about`` refers to."""
    data = proof.dump()
    digest = store.put_bytes(data)
    store.set_ref(
        Ref(
            kind=Kind.FILE,
            name=EVIDENCE,
            version=proof.artifact,
            arch=about.arch,
            digest=digest,
            size=len(data),
            source=about.source,
            url=proof.url,
        )
    )


def weakest(store: Store, paths: Iterable[Path]) -> Signature:
    """Return the least that is known of the signatures of some blobs, given by their files."""
    digests = {f"sha256:{path.name}" for path in paths}
    known = {
        str(ref.signature or _unproved(ref).state) for ref in store.refs() if ref.digest in digests
    }
    for state in (Signature.FAILED, Signature.UNCHECKED, Signature.ABSENT, Signature.VERIFIED):
        if state in known:
            return state
    return Signature.UNCHECKED


def is_evidence(ref: Ref) -> bool:
    """Tell whether a reference is that of evidence and not of an artifact."""
    return ref.kind is Kind.FILE and ref.name == EVIDENCE


def evidence(store: Store) -> dict[str, Evidence]:
    """Return what is stored about signatures, by the digest of what is signed.

    What cannot be read, or is about another file than it says, is left out.
    """
    found = {}
    for ref in filter(is_evidence, store.refs()):
        with contextlib.suppress(ValueError, NotFoundError, OSError):
            read = Evidence.load(store.path(ref.digest).read_bytes())
            if read.artifact == ref.version:
                found[ref.version] = read
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is known about the origin of one artifact of the cache."""

    ref: Ref
    state: Signature
    why: str


def verify(
    store: Store, verifier: Verifier, *, only: Collection[Key] | None = None
) -> tuple[Report, ...]:
    """Judge the signatures of everything in the cache again and record what came out.

    Args:
        store: the cache.
        verifier: what judges.
        only: keys of the references that are looked at; all by default.

    Raises:
        IntegrityError: a signed blob is damaged; it is in quarantine now.
    """
    proofs = evidence(store)
    reports = []
    for ref in store.refs():
        left_out = only is not None and ref.key not in only
        if left_out or is_evidence(ref) or not store.has(ref.digest):
            continue
        proof = proofs.get(ref.digest)
        if proof is None:
            verdict = _unproved(ref)
        else:
            try:
                store.verify(ref.digest)
                path = store.path(ref.digest)
            except NotFoundError:  # pruned meanwhile
                continue
            verdict = verifier.check(path, proof)
            if ref.signature != verdict.state:
                store.set_ref(replace(ref, signature=verdict.state))
        known = replace(ref, signature=verdict.state)
        reports.append(Report(ref=known, state=verdict.state, why=verdict.why))
    return tuple(reports)


def _unproved(ref: Ref) -> Verdict:
    """Say what is known of an artifact without evidence."""
    if ref.kind is Kind.PACKAGE:
        why = "packed on this host; the least that was known of the binaries in it"
        return Verdict(Signature(ref.signature or Signature.ABSENT), why)
    if ref.source == "build":
        origin = f" from {ref.upstream_sum}" if ref.upstream_sum else ""
        return Verdict(Signature.ABSENT, f"built on this host{origin}")
    if ref.kind is Kind.IMAGE:
        why = "signatures of images are not fetched; each blob has the digest its manifest tells"
        return Verdict(Signature.UNCHECKED, why)
    if ref.signature == Signature.UNCHECKED:
        return Verdict(Signature.UNCHECKED, "its signature could not be fetched")
    if ref.signature == Signature.VERIFIED:
        return Verdict(Signature.UNCHECKED, "what proved its signature is no longer in the cache")
    return Verdict(Signature.ABSENT, "its publisher signs no such file, or none that is known")
