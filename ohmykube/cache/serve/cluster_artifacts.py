"""What one cluster's nodes may have: the digests of an artifact lock, and no others."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from ohmykube.cache import manifest, oci, repack
from ohmykube.cache.serve.listener import Listener
from ohmykube.cache.serve.responses import BlobResponse
from ohmykube.errors import IntegrityError, OhmykubeError
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from types import TracebackType

    from ohmykube.cache.serve.stats import ServeStats
    from ohmykube.cache.store import Store
    from ohmykube.kit.secret import Secret
    from ohmykube.model.artifact import ArtifactLock

_MANIFESTS = frozenset(manifest.ACCEPT.split(", "))
OCTETS = "application/octet-stream"
PACKAGE_TYPE = "application/zstd"


class ClusterArtifacts:
    """Which digests of the store may be served, under which names."""

    def __init__(self, store: Store, lock: ArtifactLock) -> None:
        """Read all manifests; raises NotFoundError or IntegrityError when one is not usable."""
        self._store = store
        self.tags: dict[str, str] = {}
        """Full reference with tag to digest of the manifest; for nodes of several architectures of
        an index."""
        self.types: dict[str, str] = {}
        """Digest to media type: manifests, configs and layers."""
        self.manifests: set[str] = set()
        self.packages: set[str] = set()
        self.files: set[str] = set()
        """Further artifacts that nodes fetch as they are."""
        self.damaged: IntegrityError | None = None
        """About the first damaged blob that was asked for and cannot be done without."""
        self._spare: set[str] = set()
        repacked = repack.known(store)
        indexes = {ref.digest: ref.index for ref in store.refs() if ref.index}
        for artifact in lock.artifacts:
            if artifact.kind is Kind.IMAGE:
                self._add_image(artifact.digest)
                if index := indexes.get(artifact.digest, ""):
                    self._add_index(index)
                if other := repacked.get(artifact.digest, ""):
                    self._add_repacked(other)
            elif artifact.kind is Kind.PACKAGE:
                self.packages.add(artifact.digest)
            elif artifact.node_roles:
                self.files.add(artifact.digest)
        self._add_tags(lock)

    def _add_tags(self, lock: ArtifactLock) -> None:
        """Let images be pulled by their tags: all platforms of one by the same."""
        by_name: dict[str, dict[str, str]] = {}
        for artifact in lock.artifacts:
            if artifact.kind is Kind.IMAGE:
                name = artifact.name.partition("@")[0]
                by_name.setdefault(name, {})[artifact.arch] = artifact.digest
        for name, platforms in by_name.items():
            digest, *others = platforms.values()
            if others:
                digest = self._store.put_bytes(oci.index(self._store, platforms))
                self._add_index(digest)
            self.tags[name] = digest

    def _add_image(self, digest: str) -> None:
        found = manifest.closure(self._store, digest)
        self.types |= found
        self.manifests |= {d for d, media in found.items() if d == digest or media in _MANIFESTS}

    def _add_index(self, digest: str) -> None:
        """Let an image be pulled by the digest that its registry has for all platforms."""
        if self._store.has(digest):
            self.types[digest] = manifest.read(self._store, digest).media_type
            self.manifests.add(digest)

    def _add_repacked(self, digest: str) -> None:
        """Let an image be pulled by the manifest of its repacked layers as well."""
        found = manifest.closure(self._store, digest)
        self._spare |= found.keys() - self.types.keys()
        self.types = found | self.types
        self.manifests.add(digest)

    @property
    def digests(self) -> frozenset[str]:
        """All that may be served."""
        return frozenset(self.types) | self.packages | self.files

    def manifest(self, registry: str, name: str, reference: str) -> BlobResponse:
        """See ``ServedContent``."""
        digest = reference
        if digest not in self.manifests:
            full = f"{registry}/{name}" if registry else name
            digest = self.tags[f"{full}:{reference}"]
        return self._found(digest, self.types[digest])

    def blob(self, registry: str, name: str, digest: str) -> BlobResponse:
        """See ``ServedContent``; a manifest is a blob as well."""
        media = self.types[digest]
        return self._found(digest, media if digest in self.manifests else OCTETS)

    def package(self, digest: str) -> BlobResponse:
        """See ``ServedContent``."""
        if digest in self.files:
            return self._found(digest, OCTETS)
        if digest not in self.packages:
            raise KeyError(digest)
        return self._found(digest, PACKAGE_TYPE, packed=True)

    def file(self, path: str) -> BlobResponse:
        """Nothing is served by a file's name."""
        raise KeyError(path)

    def _found(self, digest: str, media: str, *, packed: bool = False) -> BlobResponse:
        try:
            return BlobResponse(self._store.trusted(digest), media, packed)
        except IntegrityError as error:
            if digest not in self._spare:  # who gets none of these takes the image as it is
                self.damaged = self.damaged or error
            raise


class Server:
    """A cluster's artifacts on the loopback, with a token, while the ``with`` block runs."""

    def __init__(self, store: Store, lock: ArtifactLock, token: str | Secret) -> None:
        self._store = store
        self._lock = lock
        self._token = token
        self._stack = ExitStack()
        self._parts: tuple[Listener, ClusterArtifacts] | None = None

    def __enter__(self) -> Self:
        """Start; raises NotFoundError when an artifact of the lock is not in the store."""
        with ExitStack() as stack:
            with self._store.using():
                artifacts = ClusterArtifacts(self._store, self._lock)
                stack.enter_context(self._store.lease("serve", artifacts.digests))
            listener = Listener(self._store, artifacts, [self._token])
            stack.enter_context(listener)
            self._stack = stack.pop_all()
        self._parts = (listener, artifacts)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop taking requests and end all connections."""
        self._stack.close()

    @property
    def port(self) -> int:
        """Port on 127.0.0.1."""
        return self._running[0].port

    @property
    def damaged(self) -> IntegrityError | None:
        """What was asked for and found damaged, so that it was not sent; None when all was well."""
        return self._running[1].damaged

    @property
    def stats(self) -> ServeStats:
        """What was sent so far."""
        return self._running[0].stats

    @property
    def _running(self) -> tuple[Listener, ClusterArtifacts]:
        if self._parts is None:
            raise OhmykubeError("the cache server is not running")
        return self._parts
