"""``ohmykube cache`` and its commands, one module for each."""

from __future__ import annotations

from ohmykube.cli._lazy import Entry, LazyGroup

TABLE = {
    "ls": Entry(f"{__name__}.ls", "ls", "List what is in the cache."),
    "stats": Entry(f"{__name__}.stats", "stats", "Show sizes, sharing and hits."),
    "verify": Entry(f"{__name__}.verify", "verify", "Hash blobs again and set damaged ones aside."),
    "fsck": Entry(f"{__name__}.fsck", "fsck", "Check that all parts agree, or rebuild the index."),
    "prune": Entry(f"{__name__}.prune", "prune", "Remove what is not needed."),
    "rm": Entry(f"{__name__}.rm", "rm", "Remove named artifacts."),
    "serve": Entry(f"{__name__}.serve", "serve", "Serve a pull-through cache of registries."),
    "export": Entry(f"{__name__}.export", "export", "Write the cache, or parts of it, to a file."),
    "import": Entry(f"{__name__}.import_", "import_", "Copy a bundle into the cache."),
}


cache = LazyGroup(
    "cache",
    table=TABLE,
    sections={
        "Look": ("ls", "stats", "verify", "fsck"),
        "Make room": ("prune", "rm"),
        "Share": ("serve", "export", "import"),
    },
    examples=(
        "ohmykube cache ls",
        "ohmykube cache verify",
        "ohmykube cache prune --dry-run",
    ),
    help="Manage the artifacts that all clusters share.",
)
