"""Bring images from registries into the store, for each architecture that a node has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache import oci
from ohmykube.cache.archive import image_names
from ohmykube.cache.download import Downloader
from ohmykube.cache.registry_client import Reference, RegistryClient
from ohmykube.cache.store import Ref
from ohmykube.kit import parallel
from ohmykube.model.artifact import Kind
from ohmykube.progress import item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.cache.store import Store
    from ohmykube.steps.base import Run
    from ohmykube.steps.reach import Reach

SOURCE = "pull"
AT_ONCE = 3


class PullImages:
    """Asks each image's own registry, with the user's docker login where there is one."""

    name = "pull_images"
    title = "Pull the images"

    def __init__(
        self,
        reach: Reach,
        references: Sequence[str],
        store: Store,
        client: RegistryClient | None = None,
    ) -> None:
        """Say what to pull; raises UsageError for what is no image name."""
        self._reach = reach
        self._references = tuple(dict.fromkeys(image_names.full(text) for text in references))
        self._store = store
        self._client = client
        self.refs: dict[tuple[str, str], Ref] = {}
        """By full reference and architecture."""

    def run(self, run: Run) -> str:
        """Fill ``refs``; raises NetworkError or IntegrityError as ``RegistryClient.pull``."""
        client = self._client or RegistryClient(Downloader(self._store, run.services.reporter))
        architectures = sorted(set(self._reach.architectures.values()))
        todo = [(reference, arch) for reference in self._references for arch in architectures]

        def one(wanted: tuple[str, str]) -> Ref:
            reference, arch = wanted
            with item(run.services.reporter, reference, "pulled"):
                return self._ref(client, reference, arch)

        refs = parallel.each(todo, one, at_most=AT_ONCE)
        for ref in refs:
            self._store.set_ref(ref)
        self.refs = {(ref.name, ref.arch): ref for ref in refs}
        return f"{len(refs)} images, {sum(ref.size for ref in refs) / 1e6:.1f} MB"

    def _ref(self, client: RegistryClient, reference: str, arch: str) -> Ref:
        digest = client.pull(Reference.parse(reference), arch)
        return Ref(
            kind=Kind.IMAGE,
            name=reference,
            version=image_names.tag_of(reference),
            arch=arch,
            digest=digest,
            size=oci.image_size(self._store, digest),
            source=SOURCE,
            index=client.index_of(digest),
        )
