"""``ohmykube template`` and its commands, one module for each."""

from __future__ import annotations

from ohmykube.cli._lazy import Entry, LazyGroup

TABLE = {
    "list": Entry(f"{__name__}.list", "list_", "List the templates."),
    "build": Entry(f"{__name__}.build", "build", "Build those that fit a cluster."),
    "prune": Entry(f"{__name__}.prune", "prune", "Remove those not used for longest."),
    "rm": Entry(f"{__name__}.rm", "rm", "Remove those that are named."),
}


template = LazyGroup(
    "template",
    table=TABLE,
    examples=("ohmykube template list", "ohmykube template build -f cluster.yaml"),
    help="Look after prepared nodes that `up` clones.",
)
