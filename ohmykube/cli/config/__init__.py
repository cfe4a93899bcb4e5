"""``ohmykube config`` and its commands, one module for each."""

from __future__ import annotations

from ohmykube.cli._lazy import Entry, LazyGroup

TABLE = {
    "template": Entry(
        f"{__name__}.template", "template", "Print a commented cluster.yaml to start from."
    ),
    "validate": Entry(
        f"{__name__}.validate", "validate", "Check a cluster.yaml and report all its problems."
    ),
    "show": Entry(f"{__name__}.show", "show", "Print a cluster.yaml with all defaults filled in."),
    "schema": Entry(f"{__name__}.schema", "schema", "Print the JSON schema of cluster.yaml."),
}

config = LazyGroup(
    "config",
    table=TABLE,
    examples=(
        "ohmykube config template > cluster.yaml",
        "ohmykube config validate -f cluster.yaml",
    ),
    help="Write, check and explain cluster.yaml.",
)
