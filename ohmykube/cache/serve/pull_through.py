"""A pull-through cache of registries: what the store does not have is fetched once and kept.

Blobs and manifests are named by their digest, so what is here is right for ever. A tag is asked for
again (HEAD) when its last answer is older than ``TAG_SECONDS``; while the registry cannot be
reached, the last answer stands. Of an index only what clients ask for is fetched: their platform.
Nothing is sent before all of it is here and has its digest.
"""

from __future__ import annotations

import contextlib
import http
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.cache import manifest
from ohmykube.cache.manifest import Index
from ohmykube.cache.refs import Ref
from ohmykube.cache.serve import http_errors, registry_names
from ohmykube.cache.serve.responses import BlobResponse, NotServed
from ohmykube.cache.serve.single_flight import SingleFlight
from ohmykube.errors import (
    IntegrityError,
    LockedError,
    NotFoundError,
    OhmykubeError,
    PermissionDenied,
    ResourceError,
)
from ohmykube.kit import amounts, architecture
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind
from ohmykube.progress import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.cache.registry_client import RegistryClient
    from ohmykube.cache.serve.registry_names import RequestedRepository, Upstream
    from ohmykube.cache.serve.release_files import ReleaseFiles
    from ohmykube.cache.store import Store
    from ohmykube.kit.retry import Clock
    from ohmykube.progress import Reporter

TAG_SECONDS = 300.0
"""How long the answer for a tag counts without asking again."""
MAX_BLOB = 64 << 30
"""Larger layers are refused, in bytes."""
SOURCE = "mirror"
LOADED = "load"
"""Source of images that the user put into the store; they need no registry."""
ANY = "any"
"""Architecture of a reference to what a tag names, which may be an index."""
OCTETS = "application/octet-stream"
_USE_SECONDS = 3600.0


class PullThrough:
    """What a pull-through cache serves; see ``ServedContent``."""

    def __init__(
        self,
        store: Store,
        upstreams: Mapping[str, Upstream],
        reporter: Reporter,
        *,
        client: RegistryClient | None,
        clock: Clock,
        files: ReleaseFiles,
        tag_seconds: float = TAG_SECONDS,
    ) -> None:
        """``client`` is None for an offline cache."""
        self._store = store
        self._upstreams = upstreams
        self._reporter = reporter
        self._client = client
        self._clock = clock
        self._files = files
        self._tag_seconds = tag_seconds
        self._asked: dict[str, float] = {}
        self._children: set[str] = set()
        self._flights: SingleFlight[str] = SingleFlight()

    @property
    def fetching(self) -> int:
        """How many things are being fetched now."""
        return len(self._flights)

    # -- what clients ask for --------------------------------------------------------------------

    def manifest(self, registry: str, name: str, reference: str) -> BlobResponse:
        """See ``ServedContent``."""
        wanted = registry_names.requested_repository(self._upstreams, registry, name)
        if digests.is_digest(reference):
            digest = reference
        elif registry_names.is_tag(reference):
            digest = self._digest_of(wanted, reference)
        else:
            raise NotServed(
                http.HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", f"{reference} is no tag or sha256"
            )
        found = self._have(wanted, digest, "manifests")
        # Where the cache cannot be written it is served from all the same.
        with contextlib.suppress(PermissionDenied, ResourceError, LockedError):
            self._keep(wanted, reference, digest)
        parsed = manifest.read(self._store, digest)
        if isinstance(parsed, Index):
            # Asked for by their digest soon; the reference to the index keeps them.
            self._children |= {entry.digest for entry in parsed.manifests}
        return replace(found, media=parsed.media_type)

    def blob(self, registry: str, name: str, digest: str) -> BlobResponse:
        """See ``ServedContent``."""
        wanted = registry_names.requested_repository(self._upstreams, registry, name)
        if not digests.is_digest(digest):
            raise NotServed(http.HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", f"{digest} is no sha256")
        return self._have(wanted, digest, "blobs")

    def package(self, digest: str) -> BlobResponse:
        """See ``ServedContent``."""
        return self._files.package(digest)

    def file(self, path: str) -> BlobResponse | bytes:
        """See ``ServedContent``."""
        return self._files.file(path)

    # -- tags ------------------------------------------------------------------------------------

    def _digest_of(self, wanted: RequestedRepository, tag: str) -> str:
        full = f"{wanted.full}:{tag}"
        known = self._known(full)
        if known is not None and (known.source == LOADED or self._is_fresh(full)):
            return known.digest
        if self._client is None:
            if known is not None:
                return known.digest
            raise NotServed(
                http.HTTPStatus.NOT_FOUND,
                "MANIFEST_UNKNOWN",
                f"{full} is not in the cache, which is offline",
            )
        try:
            return self._flights.do(full, lambda: self._ask(wanted, tag, full))
        except OhmykubeError as error:
            if known is None or not http_errors.allows_stale(error):
                raise http_errors.not_served(error, full, "MANIFEST_UNKNOWN") from error
            self._say(
                f"{full} is served as it was: {error.message}",
                level="warning",
                event="stale",
                image=full,
            )
            return known.digest

    def _known(self, full: str) -> Ref | None:
        """Return what the store has under this name: loaded by hand, by us, or by a cluster."""
        mine = {LOADED: 0, SOURCE: 1}
        here = architecture.host()
        found = [
            ref
            for ref in self._store.refs()
            if ref.kind is Kind.IMAGE and ref.name == full and self._store.has(ref.digest)
        ]
        found.sort(key=lambda ref: (mine.get(ref.source, 2), ref.arch != here))
        return found[0] if found else None

    def _is_fresh(self, full: str) -> bool:
        asked = self._asked.get(full)
        return asked is not None and self._clock.now() - asked < self._tag_seconds

    def _ask(self, wanted: RequestedRepository, tag: str, full: str) -> str:
        client = self._need_client()
        digest = client.digest_of(wanted.repository, tag)
        with self._store.using():
            if not digest or not self._store.has(digest):
                digest = client.document(wanted.repository, digest or tag)
                self._say(f"found {full}", event="found", image=full, digest=digest)
            self._remember(wanted, full, digest, tag)
        self._asked[full] = self._clock.now()
        return digest

    def _keep(self, wanted: RequestedRepository, reference: str, digest: str) -> None:
        """Note a use, and keep from ``prune`` what is asked for by its digest alone."""
        if reference != digest:
            name = f"{wanted.full}:{reference}"
            if self._store.ref(Kind.IMAGE, name, reference, ANY) is not None:
                self._remember(wanted, name, digest, reference)
        elif digest not in self._children and not self._is_referred_to(digest):
            self._remember(wanted, f"{wanted.full}@{digest}", digest, digest)

    def _is_referred_to(self, digest: str) -> bool:
        return any(digest in (ref.digest, ref.index) for ref in self._store.refs())

    def _remember(self, wanted: RequestedRepository, name: str, digest: str, version: str) -> None:
        """Refer to a manifest; a use is written down once an hour."""
        now = time.time()
        known = self._store.ref(Kind.IMAGE, name, version, ANY)
        if known and known.digest == digest and now - known.last_used_at < _USE_SECONDS:
            return
        parsed = manifest.read(self._store, digest)
        sizes = [] if isinstance(parsed, Index) else [blob.size for blob in parsed.blobs]
        self._store.set_ref(
            Ref(
                kind=Kind.IMAGE,
                name=name,
                version=version,
                arch=ANY,
                digest=digest,
                size=self._store.locate(digest).size + sum(sizes),
                source=SOURCE,
                url=wanted.upstream.endpoint,
                last_used_at=now,
            )
        )

    # -- blobs -----------------------------------------------------------------------------------

    def _have(self, wanted: RequestedRepository, digest: str, what: str) -> BlobResponse:
        """Return a blob of the store, fetched if need be, also in place of a damaged one."""
        try:
            found = BlobResponse(self._store.trusted(digest), OCTETS)
            self._store.count("hits")
            self._store.count("bytes_saved", found.blob.size)
        except (NotFoundError, IntegrityError) as error:
            if isinstance(error, IntegrityError):
                self._say(f"{error.message}; {error.why}", level="warning", event="damaged")
            self._fetch(wanted, digest, what)
            found = BlobResponse(self._store.trusted(digest), OCTETS)
        return found

    def _fetch(self, wanted: RequestedRepository, digest: str, what: str) -> None:
        unknown = "MANIFEST_UNKNOWN" if what == "manifests" else "BLOB_UNKNOWN"
        full = f"{wanted.full}@{digest}"
        if self._client is None:
            raise NotServed(
                http.HTTPStatus.NOT_FOUND,
                unknown,
                f"{full} is not in the cache, which is offline",
            )
        try:
            self._flights.do(digest, lambda: self._download(wanted, digest, what))
        except OhmykubeError as error:
            self._say(
                f"{full} cannot be fetched: {error.message}: {error.why}",
                level="warning",
                event="failed",
                image=wanted.full,
                digest=digest,
            )
            raise http_errors.not_served(error, full, unknown) from error

    def _download(self, wanted: RequestedRepository, digest: str, what: str) -> str:
        client = self._need_client()
        with self._store.using():
            if what == "manifests":
                client.document(wanted.repository, digest)
                self._store.count("misses")  # a blob's is counted by who downloads it
            else:
                client.blob(wanted.repository, digest, MAX_BLOB)
        size = self._store.locate(digest).size
        self._say(
            f"fetched {wanted.full}@{digest[7:19]}, {amounts.size(size)}",
            event="fetched",
            image=wanted.full,
            digest=digest,
            bytes=str(size),
        )
        return digest

    def _need_client(self) -> RegistryClient:
        if self._client is None:
            raise OhmykubeError("offline: no registry is asked")
        return self._client

    def _say(self, text: str, *, level: str = "info", **fields: str) -> None:
        self._reporter.emit(Message(level=level, text=text, fields=fields))
