"""Where a release file comes from: its publisher's sum and signature, checked at the fetch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ohmykube.cache import signatures
from ohmykube.cache.refs import Ref, Signature
from ohmykube.cache.signatures import Evidence, Verdict
from ohmykube.errors import IntegrityError, NetworkError
from ohmykube.progress import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.cache.catalog import Download, Signed
    from ohmykube.cache.signatures import Verifier
    from ohmykube.cache.store import Store
    from ohmykube.progress import Reporter


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is recorded about where a file comes from."""

    upstream_sum: str = ""
    signature: Signature = Signature.ABSENT
    evidence: Evidence | None = None


class ReadSidecar(Protocol):
    """Reads small files that a publisher put beside a release file."""

    def __call__(self, url: str) -> bytes | None:
        """Return the file, or None when there is none; raises NetworkError."""
        ...


class PublisherChecks:
    """Checks sums and signatures; refuses a file that its publisher's do not match."""

    def __init__(self, store: Store, reporter: Reporter, verifier: Verifier) -> None:
        self._store = store
        self._reporter = reporter
        self._verifier = verifier

    def of(
        self,
        download: Download,
        digest: str,
        *,
        read_sidecar: ReadSidecar,
        published: Callable[[], str] | None,
    ) -> Provenance:
        """Return what is known about a file that is in the store.

        Args:
            download: the file.
            digest: of it.
            read_sidecar: reads the publisher's sum and signature files.
            published: returns its publisher's sum, where the publisher can be asked.

        Raises:
            IntegrityError: sum or signature are not those of this file.
        """
        upstream_sum = self._sum(download, digest, published)
        if download.signed is None:
            return Provenance(upstream_sum)
        evidence, verdict = self._signature(download.url, download.signed, digest, read_sidecar)
        text = f"signature of {download.url}: {verdict.state} ({verdict.why})"
        self._reporter.emit(Message(level="debug", text=text))
        if verdict.state is Signature.FAILED:
            raise IntegrityError(
                f"{download.url.rpartition('/')[2]} is not signed by its publisher",
                why=f"{verdict.why}\nit should be by {download.signed.identity or 'its project'}",
                hint="do not use it; ask another source, and tell the publisher",
                id="OMK-I-706",
            )
        return Provenance(upstream_sum, verdict.state, evidence)

    def record(self, ref: Ref, provenance: Provenance) -> None:
        """Record an artifact with what is known of its origin."""
        self._store.set_ref(ref)
        if provenance.evidence is not None:
            signatures.keep(self._store, provenance.evidence, ref)

    def _sum(self, download: Download, digest: str, published: Callable[[], str] | None) -> str:
        if published is None:
            return ""
        try:
            told = published()
        except NetworkError as error:
            text = f"no sum of the publisher for {download.url}: {error.message}"
            self._reporter.emit(Message(level="debug", text=text))
            return ""
        if told != digest:
            raise IntegrityError(
                f"the publisher's sum of {download.url} is not the one that was reviewed",
                why=f"published {told}\nreviewed  {digest}",
                hint="do not use it; ask another source, and tell the publisher",
                id="OMK-I-705",
            )
        return told

    def _signature(
        self, url: str, signed: Signed, digest: str, read_sidecar: ReadSidecar
    ) -> tuple[Evidence | None, Verdict]:
        parts = {}
        try:
            for part, place in signed.files.items():
                data = read_sidecar(place)
                if data is None:
                    return None, Verdict(Signature.ABSENT, f"there is no {place}")
                parts[part] = data.decode("ascii")
        except NetworkError as error:
            return None, Verdict(Signature.UNCHECKED, error.message)
        except UnicodeDecodeError:
            return None, Verdict(Signature.FAILED, f"{place} is not a signature")
        evidence = Evidence(
            artifact=digest,
            url=url,
            form=signed.form,
            parts=parts,
            identity=signed.identity,
            issuer=signed.issuer,
            keyring=signed.keyring,
        )
        return evidence, self._verifier.check(self._store.path(digest), evidence)
