"""Bring images from registries into the store, for each architecture that a node has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache import manifest, oci
from ohmykube.cache.archive import image_names
from ohmykube.cache.download import Downloader
from ohmykube.cache.registry_client import Reference, RegistryClient
from ohmykube.cache.store import Ref
from ohmykube.kit import amounts, parallel
from ohmykube.model.artifact import Kind
from ohmykube.progress import item
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ohmykube.cache.store import Store
    from ohmykube.steps.context import Services

SOURCE = "pull"
AT_ONCE = 3


PULL_IMAGES = Step("pull-images", "Pull the images")


def full_names(references: Sequence[str]) -> tuple[str, ...]:
    """Return the full form of each, once; raises UsageError for what is no image name."""
    return tuple(dict.fromkeys(image_names.full(text) for text in references))


def pull_images(
    services: Services,
    references: Sequence[str],
    architectures: Iterable[str],
    store: Store,
    client: RegistryClient | None = None,
) -> tuple[Ref, ...]:
    """Bring images into the store; return a reference for each image and architecture.

    Each image's own registry is asked, with the user's docker login where there is one.

    Args:
        services: of the command.
        references: full names.
        architectures: ``amd64``, ``arm64``.
        store: where images go.
        client: asks registries; one of its own by default.

    Raises:
        NetworkError, IntegrityError: as ``RegistryClient.pull``; no reference was made.
        IntegrityError: an image has no layers.
    """
    todo = [(reference, arch) for reference in references for arch in sorted(set(architectures))]
    with PULL_IMAGES.running(services) as result:
        client = client or RegistryClient(Downloader(store, services.reporter))

        def one(wanted: tuple[str, str]) -> Ref:
            with item(services.reporter, wanted[0], "pulled"):
                return _pulled(client, store, *wanted)

        refs = parallel.each(todo, one, at_most=AT_ONCE)
        for ref in refs:
            store.set_ref(ref)
        size = sum(ref.size for ref in refs)
        result.detail = f"{amounts.count(len(refs), 'image')}, {amounts.size(size)}"
    return tuple(refs)


def _pulled(client: RegistryClient, store: Store, reference: str, arch: str) -> Ref:
    digest = client.pull(Reference.parse(reference), arch)
    image = manifest.read(store, digest)
    if isinstance(image, manifest.Manifest) and not image.layers:
        raise manifest.no_layers(reference)
    return Ref(
        kind=Kind.IMAGE,
        name=reference,
        version=image_names.tag_of(reference),
        arch=arch,
        digest=digest,
        size=oci.image_size(store, digest),
        source=SOURCE,
        index=client.index_of(digest),
    )
