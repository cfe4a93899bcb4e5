"""What the sources that fetch finished files have in common."""

from __future__ import annotations

import abc
import contextlib
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.cache import described_registries, signatures
from ohmykube.cache.download import Downloader
from ohmykube.cache.registry_client import Reference, RegistryClient, Repository
from ohmykube.cache.signatures import Verifier
from ohmykube.cache.sources.base import Source
from ohmykube.cache.sources.publisher_check import PublisherChecks
from ohmykube.cache.store import Ref, Signature
from ohmykube.cache.transport import StatusError
from ohmykube.cache.unpack import extract
from ohmykube.errors import NetworkError
from ohmykube.kit import digest as digests
from ohmykube.kit import files
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ohmykube.cache.catalog import Component, Download, FileSpec, ImageSpec
    from ohmykube.cache.sources.base import SourceContext
    from ohmykube.cache.sources.publisher_check import Provenance
    from ohmykube.cache.transport import Transport

_ABSENT = frozenset({404, 410})
_SETTLED = frozenset({Signature.VERIFIED, Signature.ABSENT})
ARCHIVE_BYTES = 4 << 30
"""A release archive may unpack to so much."""


class FetchSource(Source):
    """Files and images of release servers, wherever they are kept."""

    def __init__(self, context: SourceContext) -> None:
        super().__init__(context)
        self._guard = threading.Lock()
        self._made: Downloader | None = None
        self._client: RegistryClient | None = None

    @property
    def transport(self) -> Transport:
        """How requests are sent; replaced by tests."""
        return self.downloader.transport

    @property
    def downloader(self) -> Downloader:
        """Made when first used: urllib3 reads the trusted certificates then."""
        with self._guard:
            if self._made is None:
                transport = described_registries.transport(
                    self.context.registries, trust=self.context.trust, proxy=self.context.proxy
                )
                self._made = Downloader(self.context.store, self.context.reporter, transport)
            return self._made

    @downloader.setter
    def downloader(self, downloader: Downloader) -> None:
        self._made = downloader

    @property
    def registries(self) -> RegistryClient:
        """One client, so that one token serves a repository."""
        downloader = self.downloader
        with self._guard:
            if self._client is None:
                self._client = described_registries.client(downloader, self.context.registries)
            return self._client

    @abc.abstractmethod
    def file(self, download: Download) -> Path:
        """Return the verified blob of one release file; raises as ``component``."""

    @abc.abstractmethod
    def repository(self, reference: Reference) -> Repository:
        """Return where an image's repository is."""

    def component(self, component: Component, arch: str) -> Mapping[str, Path]:
        """Return the binaries, unpacked from the release archive where there is one."""
        download = component.downloads.get(arch)
        if download is None:
            raise NetworkError(
                f"{component.name} {component.version} is not released for {arch}",
                hint="add `build` to sources.order",
                id="OMK-I-245",
            )
        if not download.members:
            path = self.file(download)
            self._record(component, download, arch, path)
            return dict.fromkeys(component.installs, path)
        with self.context.store.holding(f"unpack {download.url}"):
            return self._unpacked(component, download, arch)

    def release_file(self, file: FileSpec, arch: str) -> Path:
        """Fetch a file; its digest is the catalog's, or the one published beside it."""
        return self.file(file.downloads[arch])

    def _record(self, component: Component, download: Download, arch: str, path: Path) -> None:
        """Look at the origin of a release file that is a binary itself, unless that is known."""
        digest = download.digest or digests.of_file(path)
        key = (Kind.BINARY, f"{self.name}:{component.name}", component.version, arch)
        known = self.context.store.ref(*key)
        if known is not None and known.digest == digest and known.signature in _SETTLED:
            return
        provenance = self._provenance(download, digest)
        ref = Ref(
            *key,
            digest=digest,
            size=path.stat().st_size,
            source=self.name,
            url=f"{download.url}#{download.digest}",
            upstream_sum=provenance.upstream_sum,
            signature=provenance.signature,
        )
        self._checks.record(ref, provenance)

    def _provenance(self, download: Download, digest: str) -> Provenance:
        return self._checks.of(
            download, digest, read_sidecar=self.sidecar, published=self.published(download)
        )

    @property
    def _checks(self) -> PublisherChecks:
        context = self.context
        verifier = Verifier(context.paths.state / signatures.KEYRINGS)
        return PublisherChecks(context.store, context.reporter, verifier)

    def published(self, download: Download) -> Callable[[], str] | None:
        """Return what asks the publisher for a file's sum, None when this source cannot."""
        return None

    def sidecar(self, url: str) -> bytes | None:
        """Return a small file that lies beside a release file, None when there is none.

        Raises:
            NetworkError: it could not be fetched for another reason.
        """
        try:
            return self.transport.small(url, limit=signatures.PART_BYTES)
        except StatusError as error:
            if error.status in _ABSENT:
                return None
            raise

    def _unpacked(self, component: Component, download: Download, arch: str) -> Mapping[str, Path]:
        store = self.context.store
        origin = f"{download.url}#{download.digest}"
        names = {name: f"{self.name}:{name}" for name in download.members.values()}
        found = {
            name: store.ref(Kind.BINARY, key, component.version, arch)
            for name, key in names.items()
        }
        if all(ref is not None and ref.url == origin for ref in found.values()):
            return {name: store.path(ref.digest) for name, ref in found.items() if ref is not None}
        archive = self.file(download)
        provenance = self._provenance(download, download.digest or digests.of_file(archive))
        wanted = {member.removeprefix("./"): name for member, name in download.members.items()}
        directory = Path(tempfile.mkdtemp(prefix=files.TEMP_PREFIX, dir=store.ingest))
        try:
            extract(archive, wanted, directory, limit=ARCHIVE_BYTES)
            paths = {}
            for name, key in names.items():
                digest, size = store.put_file(directory / name)
                store.set_ref(
                    Ref(
                        kind=Kind.BINARY,
                        name=key,
                        version=component.version,
                        arch=arch,
                        digest=digest,
                        size=size,
                        source=self.name,
                        url=origin,
                        upstream_sum=provenance.upstream_sum,
                        signature=provenance.signature,
                    )
                )
                paths[name] = store.path(digest)
            return paths
        finally:
            with contextlib.suppress(OSError):
                shutil.rmtree(directory)

    def index_of(self, digest: str) -> str:
        """Return the index that the registry has for an image pulled by this source."""
        return self.registries.index_of(digest)

    def image(self, image: ImageSpec, arch: str) -> str:
        """Pull an image through the registry API."""
        reference = Reference.parse(image.ref)
        return self.registries.pull(
            reference, arch, at=self.repository(reference), digest=image.digests.get(arch, "")
        )
