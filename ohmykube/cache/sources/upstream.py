"""Official release servers and registries, with the sums that their projects publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache.registry_client import Reference, Repository
from ohmykube.cache.sources.remote import RemoteSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ohmykube.cache.catalog import Download

PROBES = ("https://dl.k8s.io/", "https://registry.k8s.io/v2/")


class UpstreamSource(RemoteSource):
    """dl.k8s.io, github.com and the registries that image references name."""

    name = "upstream"

    def available(self) -> None:
        """Ask the servers of Kubernetes itself; without them nothing else helps."""
        for url in PROBES:
            self.transport.probe(url, seconds=2.5)

    def file(self, download: Download) -> Path:
        """Fetch a release file; its digest is the catalog's, or the one published beside it."""
        digest = download.digest or self.downloader.published_digest(download.url, download.sums)
        return self.downloader.fetch(download.url, digest)

    def published(self, download: Download) -> Callable[[], str]:
        """Ask for the publisher's sum; where the catalog has none, ``file`` has asked already."""
        return lambda: self.downloader.published_digest(download.url, download.sums)

    def repository(self, reference: Reference) -> Repository:
        """Return the reference's own registry."""
        return Repository.upstream(reference)
