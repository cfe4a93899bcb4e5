"""Results of the commands on images, as documents and as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ohmykube.cli._output import document
from ohmykube.ui.console import one_line, seconds
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from ohmykube.steps.node_delivery import Delivery
    from ohmykube.workflows.images import DeliveryResult, ImageList, ListedImage

_SHORT = 12


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


def delivered_text(result: DeliveryResult) -> str:
    """Return the images, then one row for each node."""
    images = [
        (ref.digest.removeprefix("sha256:")[:_SHORT], size(ref.size), ref.name)
        for ref in result.images
    ]
    rows = [
        (
            node.node,
            size(node.sent),
            size(node.skipped),
            seconds(node.seconds),
            _how(node),
        )
        for node in result.nodes
    ]
    return (
        table(("digest", "size", "image"), images)
        + "\n"
        + table(("node", "sent", "skipped", "time", "how"), rows)
    )


def _how(node: Delivery) -> str:
    if node.error is not None:
        return "FAILED"
    if node.why:
        return f"streamed: {node.why}"
    return {"pull": "pulled", "stream": "streamed", "none": "nothing to do"}[node.way]


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


def listing_text(found: ImageList) -> str:
    """Return one row for each image, the long names last, then the nodes that were not asked."""
    rows = [
        (
            image.digest.removeprefix("sha256:")[:_SHORT],
            image.size,
            "yes" if image.pinned else "no",
            _nodes(image),
            image.reference,
        )
        for image in found.images
    ]
    text = table(("digest", "size", "pinned", "nodes", "image"), rows)
    lost = [f"{node}: {one_line(error.message)}\n" for node, error in found.lost.items()]
    return text + ("\n" + "".join(lost) if lost else "")


def _nodes(image: ListedImage) -> str:
    parts = []
    if image.lacking:
        parts.append("not " + ",".join(image.lacking))
    if image.broken:
        parts.append("broken " + ",".join(image.broken))
    return "; ".join(parts) or "all"


def size(value: int) -> str:
    """Return bytes with a decimal unit, such as ``14.0 MB``."""
    if value < 1000:
        return f"{value} B"
    amount = float(value)
    for unit in ("kB", "MB"):
        amount /= 1000
        if amount < 1000:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.2f} GB"
