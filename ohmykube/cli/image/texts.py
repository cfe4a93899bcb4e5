"""Results of the commands on images, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.kit import amounts
from ohmykube.ui.console import one_line, seconds
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from ohmykube.steps.deliver_to_node import Delivery
    from ohmykube.workflows.images import DeliveryResult, ImageList, ListedImage

_SHORT = 12


def delivered(result: DeliveryResult) -> str:
    """Return the images, then one row for each node."""
    images = [
        (ref.digest.removeprefix("sha256:")[:_SHORT], amounts.size(ref.size), ref.name)
        for ref in result.images
    ]
    rows = [
        (
            node.node,
            amounts.size(node.sent),
            amounts.size(node.skipped),
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


def listing(found: ImageList) -> str:
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
