"""``ohmykube bundle`` and its commands, one module for each."""

from __future__ import annotations

from ohmykube.cli._lazy import Entry, LazyGroup

TABLE = {
    "create": Entry(f"{__name__}.create", "create", "Write all that a cluster needs to a file."),
    "inspect": Entry(f"{__name__}.inspect", "inspect", "Show what is in a bundle."),
    "sbom": Entry(f"{__name__}.sbom", "sbom", "Print a bundle's bill of materials."),
    "verify": Entry(f"{__name__}.verify", "verify", "Check a bundle's content and signature."),
}


bundle = LazyGroup(
    "bundle",
    table=TABLE,
    examples=(
        "ohmykube bundle create -f cluster.yaml",
        "ohmykube bundle verify dev-k8s1.36.3-amd64.omk.tar",
        "ohmykube up -f cluster.yaml --offline --bundle dev-k8s1.36.3-amd64.omk.tar",
    ),
    help="Take everything that a cluster needs to a place without a network.",
)
