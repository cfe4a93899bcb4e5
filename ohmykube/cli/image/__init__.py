"""``ohmykube image`` and its commands, one module for each."""

from __future__ import annotations

from ohmykube.cli._lazy import Entry, LazyGroup

TABLE = {
    "load": Entry(f"{__name__}.load", "load", "Load images from this host onto the nodes."),
    "pull": Entry(f"{__name__}.pull", "pull", "Pull images from a registry onto the nodes."),
    "list": Entry(f"{__name__}.list", "list_", "Show which node has which image."),
}


image = LazyGroup(
    "image",
    table=TABLE,
    examples=(
        "ohmykube image load app:dev",
        "ohmykube image load app.tar other.tar --name dev",
        "ohmykube image list",
    ),
    help="Bring your own images to a cluster's nodes; only missing layers are sent.",
)
