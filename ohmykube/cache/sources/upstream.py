"""Official release servers and registries, with the sums that their projects publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache.registry_client import Reference, Repository
from ohmykube.cache.sources import module_files
from ohmykube.cache.sources.fetch_source import FetchSource
from ohmykube.model.registry import host_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ohmykube.cache.catalog import Download, ImageSpec, ModuleFile

PROBES = ("https://dl.k8s.io/", "https://registry.k8s.io/v2/")


class UpstreamSource(FetchSource):
    """dl.k8s.io, github.com and the registries that image references name."""

    name = "upstream"

    def available(self) -> None:
        """Ask the servers of Kubernetes itself; without them nothing else helps.

        A registry is not asked that need not be there: how it is asked is described.
        """
        described = {one.name for one in self.context.registries if one.mirrors or one.plain_http}
        for url in PROBES:
            if host_of(url) not in described:
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
        """Pull an image from the first place that has it: mirrors, then its registry."""
        reference = Reference.parse(image.ref)
        return self.registries.pull(
            reference,
            arch,
            mirrors=self.context.sources.registries.get(reference.registry, ()),
            digest=image.digests.get(arch, ""),
        )
