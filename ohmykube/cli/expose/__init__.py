"""``ohmykube expose`` and its commands, one module for each."""

from __future__ import annotations

from ohmykube.cli._lazy import Entry, LazyGroup

TABLE = {
    "service": Entry(
        f"{__name__}.service", "service", "Lead a port of this host to a service; may be left out."
    ),
    "list": Entry(f"{__name__}.list", "list_", "List what of a cluster this host reaches."),
}


expose = LazyGroup(
    "expose",
    table=TABLE,
    default="service",
    examples=(
        "ohmykube expose web",
        "ohmykube expose db -n shop --port 15432:5432",
        "ohmykube expose list",
    ),
    help="Reach services of a cluster on ports of this host. Load balancers, NodePorts and host"
    " ports of pods are there by themselves.",
)
