"""``ohmykube template`` and its commands, one module for each."""

from __future__ import annotations

from ohmykube.cli._lazy import Entry, LazyGroup

TABLE = {
    "list": Entry(f"{__name__}.list", "list_", "List the templates."),
    "build": Entry(f"{__name__}.build", "build", "Build the templates for a cluster."),
    "prune": Entry(f"{__name__}.prune", "prune", "Remove the least recently used templates."),
    "rm": Entry(f"{__name__}.rm", "rm", "Remove templates by key."),
}


template = LazyGroup(
    "template",
    table=TABLE,
    examples=("ohmykube template list", "ohmykube template build -f cluster.yaml"),
    help="Manage prepared nodes that `up` clones.",
)
