"""Official release servers and registries, with the sums that their projects publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache.registry_client import Reference, Repository
from ohmykube.cache.sources import module_files
from ohmykube.cache.sources.fetch_source import FetchSource
from ohmykube.cache.transport import shown
from ohmykube.errors import NetworkError
from ohmykube.progress import Message

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ohmykube.cache.catalog import Download, ImageSpec, ModuleFile
    from ohmykube.cache.sources.base import SourceContext

PROBES = ("https://dl.k8s.io/", "https://registry.k8s.io/v2/")


class UpstreamSource(FetchSource):
    """dl.k8s.io, github.com and the registries that image references name."""

    name = "upstream"

    def __init__(self, context: SourceContext) -> None:
        super().__init__(context)
        self._passed_over: set[str] = set()

    def available(self) -> None:
        """Ask the servers of Kubernetes itself; without them nothing else helps."""
        for url in PROBES:
            self.transport.probe(url, seconds=2.5)

    def file(self, download: Download) -> Path:
        """Fetch a release file; its digest is the catalog's, or the one published beside it."""
        digest = download.digest or self.downloader.published_digest(download.url, download.sums)
        return self.downloader.fetch(download.url, digest)

    def module_file(self, file: ModuleFile) -> Path:
        """Take it out of its module, from Go's public proxy; raises as ``module_files.take``."""
        context = self.context
        fetch = module_files.from_proxy(self.downloader)
        return module_files.take(file, context.store, context.reporter, fetch)

    def published(self, download: Download) -> Callable[[], str]:
        """Ask for the publisher's sum; where the catalog has none, ``file`` has asked already."""
        return lambda: self.downloader.published_digest(download.url, download.sums)

    def repository(self, reference: Reference) -> Repository:
        """Return the reference's own registry."""
        return Repository.upstream(reference)

    def image(self, image: ImageSpec, arch: str) -> str:
        """Pull an image from the first mirror of its registry that has it, else from there."""
        reference = Reference.parse(image.ref)
        for url in self.context.sources.registries.get(reference.registry, ()):
            try:
                return self.registries.pull(
                    reference,
                    arch,
                    at=Repository.below(url, reference),
                    digest=image.digests.get(arch, ""),
                )
            except NetworkError as error:
                self._pass_over(url, reference.registry, error)
        return super().image(image, arch)

    def _pass_over(self, url: str, registry: str, error: NetworkError) -> None:
        """Tell once of each mirror that could not be used."""
        with self._guard:
            first = url not in self._passed_over
            self._passed_over.add(url)
        reason = f"{error.message}: {error.why}" if error.why else error.message
        text = f"mirror {shown(url)} of {registry} is passed over ({reason})"
        self.context.reporter.emit(Message(level="warning" if first else "debug", text=text))
