"""Release files by the URL they are published at, and packages by their digest.

The layout is that of a plain mirror (``sources.mirror``): ``/<host>/<path>``, and beside each file
its sum as ``<path>.sha256``.
"""

from __future__ import annotations

import functools
import mimetypes
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.cache.refs import Ref
from ohmykube.cache.serve import http_errors
from ohmykube.cache.serve.responses import BlobResponse
from ohmykube.cache.serve.single_flight import SingleFlight
from ohmykube.cache.signatures import is_evidence
from ohmykube.cache.sources import module_files
from ohmykube.errors import NotFoundError, OhmykubeError
from ohmykube.model.artifact import Kind
from ohmykube.progress import NullReporter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ohmykube.cache.catalog import ModuleFile
    from ohmykube.cache.download import Downloader
    from ohmykube.cache.store import Store

_SUM = ".sha256"
_PACKAGE_TYPE = "application/zstd"
_SERVED = frozenset({Kind.BINARY, Kind.FILE, Kind.CHART, Kind.MACHINE_IMAGE})


@dataclass(frozen=True, slots=True)
class Published:
    """A file whose digest was reviewed."""

    digest: str
    module: ModuleFile | None = None
    """Set when nobody publishes it by itself: it is taken out of a Go module."""


class ReleaseFiles:
    """Files that were downloaded, and those that we know the digest of."""

    def __init__(
        self,
        store: Store,
        downloader: Downloader | None = None,
        published: Callable[[], Mapping[str, Published]] = dict,
    ) -> None:
        """``published``: by URL, files we know; without a downloader none is fetched."""
        self._store = store
        self._downloader = downloader
        self._published = published
        self._flights: SingleFlight[str] = SingleFlight()

    def package(self, digest: str) -> BlobResponse:
        """Return a package; raises NotFoundError or IntegrityError."""
        if all(ref.digest != digest or ref.kind is not Kind.PACKAGE for ref in self._store.refs()):
            raise NotFoundError(f"{digest} is no package of the cache")
        return BlobResponse(self._store.trusted(digest), _PACKAGE_TYPE, packed=True)

    def file(self, path: str) -> BlobResponse | bytes:
        """Return a file, or the text of the sum beside it.

        Raises:
            NotFoundError: neither the store has it nor is its digest known.
            NotServed: it cannot be fetched.
        """
        place = path.lstrip("/")
        digest = self._digest(place)
        if digest is None and place.endswith(_SUM):
            digest = self._digest(place.removesuffix(_SUM))
            if digest is not None:
                return f"{digest.removeprefix('sha256:')}\n".encode()
        if digest is None:
            raise NotFoundError(f"there is no {place} here")
        media = mimetypes.guess_type(place)[0] or "application/octet-stream"
        return BlobResponse(self._store.trusted(digest), media)

    def _digest(self, place: str) -> str | None:
        published = self._published()
        url = {_place(url): url for url in published}.get(place)
        if url is None:
            return next((r.digest for r in self._store.refs() if self._is_at(r, place)), None)
        # What was reviewed counts, whatever a bundle says to be at that place.
        known = published[url]
        if self._store.has(known.digest):
            return known.digest
        if self._downloader is None:
            return None
        fetch = functools.partial(self._fetch, self._downloader, url, known)
        return self._flights.do(url, fetch)

    def _is_at(self, ref: Ref, place: str) -> bool:
        """Tell whether a reference is to the file at that place, not to what came out of it."""
        if ref.kind not in _SERVED or is_evidence(ref) or _place(ref.url) != place:
            return False
        told = urllib.parse.urlsplit(ref.url).fragment
        itself = told == ref.digest if told or ref.kind is Kind.BINARY else True
        return itself and self._store.has(ref.digest)

    def _fetch(self, downloader: Downloader, url: str, known: Published) -> str:
        digest = known.digest
        try:
            with self._store.using():
                if known.module is None:
                    downloader.fetch(url, digest)
                else:
                    fetch = module_files.from_proxy(downloader)
                    module_files.take(known.module, self._store, NullReporter(), fetch)
                size = self._store.locate(digest).size
                place = _place(url)
                self._store.set_ref(
                    Ref(Kind.FILE, place, digest[7:19], "any", digest, size, "mirror", url=url)
                )
        except OhmykubeError as error:
            raise http_errors.not_served(error, url, "NOT_FOUND") from error
        return digest


def _place(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.netloc}{parts.path}" if parts.scheme in ("http", "https") else ""
