"""``ohmykube addon`` and its commands, one module for each."""

from __future__ import annotations

from ohmykube.cli._lazy import Entry, LazyGroup

TABLE = {
    "list": Entry(f"{__name__}.list", "list_", "List the add-ons that are installed here."),
    "info": Entry(f"{__name__}.info", "info", "Show one: versions, needs, artifacts, values."),
    "values": Entry(f"{__name__}.values", "values", "Print the values of one in a cluster."),
    "install": Entry(f"{__name__}.install", "install", "Install add-ons into a cluster."),
    "upgrade": Entry(f"{__name__}.upgrade", "upgrade", "Bring add-ons to another version."),
    "remove": Entry(f"{__name__}.remove", "remove", "Remove add-ons from a cluster."),
}


addon = LazyGroup(
    "addon",
    table=TABLE,
    examples=(
        "ohmykube addon list",
        "ohmykube addon info flannel",
        "ohmykube addon install metrics-server",
    ),
    help="Look at add-ons, and install or remove those that `spec.addons` would name.",
)
