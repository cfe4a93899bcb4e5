"""Results of the commands on images, as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ohmykube.cli._output import document

if TYPE_CHECKING:
    from ohmykube.workflows.images import DeliveryResult, ImageList


class LoadedImage(TypedDict):
    """One image that went into the cache; ``size`` in bytes, of all its blobs."""

    reference: str
    digest: str
    arch: str
    size: int
    source: str


class NodeDelivery(TypedDict):
    """What one node got; sizes in bytes."""

    node: str
    way: Literal["pull", "stream", "none"]
    why: str
    sent: int
    skipped: int
    seconds: float
    delivered: list[str]
    error: str


class ImageDelivery(TypedDict):
    """``ohmykube image load`` and ``ohmykube image pull``."""

    cluster: str
    images: list[LoadedImage]
    nodes: list[NodeDelivery]


class ImageRow(TypedDict):
    """One image of the nodes; ``size`` as containerd says it, ``sizeBytes`` as a number."""

    reference: str
    digest: str
    size: str
    sizeBytes: int | None
    pinned: bool
    nodes: list[str]
    lacking: list[str]
    broken: list[str]


class LostNode(TypedDict):
    """A node that could not be asked."""

    node: str
    why: str


class Images(TypedDict):
    """``ohmykube image list``."""

    cluster: str
    nodes: list[str]
    lost: list[LostNode]
    items: list[ImageRow]


KINDS: dict[str, type] = {"ImageDelivery": ImageDelivery, "ImageList": Images}
"""Document kinds by name."""


def delivered(result: DeliveryResult) -> dict[str, Any]:
    """Return what was loaded and what each node got."""
    return document(
        "ImageDelivery",
        {
            "cluster": result.cluster,
            "images": [
                {
                    "reference": ref.name,
                    "digest": ref.digest,
                    "arch": ref.arch,
                    "size": ref.size,
                    "source": ref.source,
                }
                for ref in result.images
            ],
            "nodes": [
                {
                    "node": node.node,
                    "way": node.way,
                    "why": node.why,
                    "sent": node.sent,
                    "skipped": node.skipped,
                    "seconds": round(node.seconds, 3),
                    "delivered": list(node.delivered),
                    "error": node.error.message if node.error is not None else "",
                }
                for node in result.nodes
            ],
        },
    )


def listing(found: ImageList) -> dict[str, Any]:
    """Return which node has which image."""
    return document(
        "ImageList",
        {
            "cluster": found.cluster,
            "nodes": list(found.nodes),
            "lost": [{"node": n, "why": error.message} for n, error in found.lost.items()],
            "items": [
                {
                    "reference": image.reference,
                    "digest": image.digest,
                    "size": image.size,
                    "sizeBytes": image.size_bytes,
                    "pinned": image.pinned,
                    "nodes": list(image.nodes),
                    "lacking": list(image.lacking),
                    "broken": list(image.broken),
                }
                for image in found.images
            ],
        },
    )
