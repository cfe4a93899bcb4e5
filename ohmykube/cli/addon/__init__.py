"""``ohmykube addon`` and its commands, one module for each."""

from __future__ import annotations

from ohmykube.cli._lazy import Entry, LazyGroup

TABLE = {
    "list": Entry(f"{__name__}.list", "list_", "List the add-ons that are installed here."),
    "info": Entry(f"{__name__}.info", "info", "Show one: versions, needs, artifacts, values."),
}


addon = LazyGroup(
    "addon",
    table=TABLE,
    examples=("ohmykube addon list", "ohmykube addon info flannel"),
    help="Look at add-ons, which `spec.addons` of the cluster file names.",
)
