"""``image load``, ``image pull`` and ``image list``: the user's own images on the nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from ohmykube.cache import described_registries
from ohmykube.cache.download import Downloader
from ohmykube.cache.registry_client import Reference
from ohmykube.cache.store import Store
from ohmykube.errors import NodeError, NotFoundError, OhmykubeError
from ohmykube.kit import parallel
from ohmykube.model.registry import concerned
from ohmykube.progress import Message
from ohmykube.steps.deliver_images import deliver_images
from ohmykube.steps.import_images import ImageSources, Origin, check_sources, import_images
from ohmykube.steps.node_images import NodeImages, exact_name
from ohmykube.steps.probe_nodes import probe_nodes
from ohmykube.steps.proxy_urls import with_proxy
from ohmykube.steps.pull_images import full_names, pull_images
from ohmykube.steps.registry_logins import with_logins
from ohmykube.workflows import session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ohmykube.cache.store import Ref
    from ohmykube.model.cluster import Cluster
    from ohmykube.steps.context import Services
    from ohmykube.steps.deliver_to_node import Delivery
    from ohmykube.steps.node_images import NodeImage
    from ohmykube.steps.probe_nodes import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What ``image load`` is asked for."""

    sources: tuple[str, ...]
    """Image names, archives, layout directories, or ``-``."""
    origin: Origin = Origin.AUTO
    reference: str = ""
    """Name for an image that has none."""
    nodes: tuple[str, ...] = ()
    """Only these; none means all."""
    stdin: IO[bytes] | None = None
    """What ``-`` reads; None for this process's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResult:
    """What ``image load`` or ``image pull`` did."""

    cluster: str
    images: tuple[Ref, ...]
    """One for each reference and architecture."""
    nodes: tuple[Delivery, ...]

    @property
    def failure(self) -> OhmykubeError | None:
        """Return the error that says which nodes failed and why; None when all is well."""
        failed = [node for node in self.nodes if node.error is not None]
        if not failed:
            return None
        first = failed[0].error
        if len(self.nodes) == 1 and first is not None:
            return first
        why = "\n".join(f"{n.node}: {n.error.message}" for n in failed if n.error is not None)
        return NodeError(
            f"{len(failed)} of {len(self.nodes)} nodes did not get the images",
            why=why,
            hint="run the same command again: what arrived is not sent twice",
            id="OMK-I-512",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedImage:
    """One image as the nodes have it."""

    reference: str
    digest: str
    size: str
    """As containerd says it, such as ``7.7 MiB``."""
    size_bytes: int | None
    pinned: bool
    """On every node that has it."""
    nodes: tuple[str, ...]
    lacking: tuple[str, ...]
    """Nodes that were asked and do not have it with this digest."""
    broken: tuple[str, ...]
    """Nodes on which it is not whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageList:
    """What ``image list`` found."""

    cluster: str
    nodes: tuple[str, ...]
    """Nodes that answered."""
    lost: Mapping[str, OhmykubeError]
    """Nodes that did not."""
    images: tuple[ListedImage, ...]


def load(services: Services, name: str, options: LoadOptions) -> DeliveryResult:
    """Bring images of this host to the nodes of a cluster; only what they lack travels.

    Raises:
        UsageError, NotFoundError, IntegrityError: a source cannot be used; no node was touched.
    """
    check_sources(options.sources, options.reference)
    _, cluster = session.recorded(services, name)
    chosen = _chosen(cluster, options.nodes)
    store = Store(services.paths.cache)
    with session.working(services, cluster) as ctx, store.using():
        probed = probe_nodes(ctx, chosen)
        reader = ImageSources(
            store,
            probed.architectures,
            origin=options.origin,
            reference=options.reference,
            stdin=options.stdin,
            tell=lambda text: services.reporter.emit(Message(text=text)),
        )
        refs = import_images(services, options.sources, reader)
        deliveries = deliver_images(ctx, probed, refs, store)
    return DeliveryResult(cluster=name, images=refs, nodes=deliveries)


def pull(
    services: Services, name: str, references: Sequence[str], nodes: Sequence[str] = ()
) -> DeliveryResult:
    """Bring images from their registries to the nodes of a cluster, by way of the cache.

    The registries are asked as the cluster's description says, by its proxy.

    Raises:
        UsageError: something is no image name.
        ConfigError: a login that is needed is not to be found, or the proxy is not.
        NetworkError, IntegrityError: an image could not be had; no node was touched.
    """
    _, cluster = session.recorded(services, name)
    chosen = _chosen(cluster, nodes)
    wanted = full_names(references)
    asked = _asking(cluster, wanted)
    store = Store(services.paths.cache)
    with session.working(services, cluster) as ctx, store.using():
        probed = probe_nodes(ctx, chosen)
        transport = described_registries.transport(
            asked.registries,
            trust=asked.trust,
            proxy=asked.proxy.here if asked.proxy is not None else None,
        )
        downloader = Downloader(store, services.reporter, transport)
        client = described_registries.client(downloader, asked.registries)
        refs = pull_images(services, wanted, probed.architectures, store, client)
        deliveries = deliver_images(ctx, probed, refs, store)
    return DeliveryResult(cluster=name, images=refs, nodes=deliveries)


def _asking(cluster: Cluster, references: Sequence[str]) -> Cluster:
    """Return a cluster with the logins and the proxy with which its images are asked for."""
    registries = [Reference.parse(reference).registry for reference in references]
    return with_proxy(with_logins(cluster, only=concerned(registries, cluster.registries)))


def list_images(services: Services, name: str, nodes: Sequence[str] = ()) -> ImageList:
    """Look which images the nodes of a cluster have; changes nothing."""
    _, cluster = session.recorded(services, name)
    probed = probe_nodes(session.looking(services, cluster), _chosen(cluster, nodes))

    def look(answer: Answer) -> dict[str, NodeImage] | NodeError:
        try:
            return dict(NodeImages(answer.shell).survey().images)
        except NodeError as error:
            return error

    told = dict(zip(probed.answers, parallel.each(probed.answers.values(), look), strict=True))
    found = {node: one for node, one in told.items() if not isinstance(one, NodeError)}
    failed = {node: one for node, one in told.items() if isinstance(one, NodeError)}
    return ImageList(
        cluster=name,
        nodes=tuple(found),
        lost={**probed.lost, **failed},
        images=_listed(found),
    )


def _listed(found: Mapping[str, Mapping[str, NodeImage]]) -> tuple[ListedImage, ...]:
    """Return one row for each reference and digest, sorted.

    Names by digest are left out where a tag says the same, and so are those that containerd gives
    by the digest of the config.
    """
    rows: dict[tuple[str, str], dict[str, NodeImage]] = {}
    for node, images in found.items():
        tagged = {
            exact_name(image.reference, image.digest)
            for image in images.values()
            if "@" not in image.reference and "/" in image.reference
        }
        for image in images.values():
            if "/" in image.reference and image.reference not in tagged:
                rows.setdefault((image.reference, image.digest), {})[node] = image
    return tuple(
        ListedImage(
            reference=reference,
            digest=digest,
            size=next(iter(there.values())).size,
            size_bytes=next(iter(there.values())).size_bytes,
            pinned=all(image.pinned for image in there.values()),
            nodes=tuple(there),
            lacking=tuple(node for node in found if node not in there),
            broken=tuple(node for node, image in there.items() if not image.usable),
        )
        for (reference, digest), there in sorted(rows.items())
    )


def _chosen(cluster: Cluster, nodes: Sequence[str]) -> tuple[str, ...]:
    known = [node.name for node in cluster.nodes]
    for node in nodes:
        if node not in known:
            raise NotFoundError(
                f'no node "{node}" in cluster "{cluster.name}"',
                why=f"nodes: {', '.join(known)}",
                hint="ohmykube status",
            )
    return tuple(node for node in known if not nodes or node in nodes)
