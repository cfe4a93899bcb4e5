"""``ohmykube image`` and its commands, one module for each."""

from __future__ import annotations

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Entry, LazyGroup

TABLE = {
    "load": Entry(f"{__name__}.load", "load", "Bring images of this host to the nodes."),
    "pull": Entry(f"{__name__}.pull", "pull", "Bring images of a registry to the nodes."),
    "list": Entry(f"{__name__}.list", "list_", "Show which node has which image."),
}


def _overview() -> None:
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        _options.app_of(ctx).write(ctx.get_help() + "\n")


image = LazyGroup(
    "image",
    table=TABLE,
    examples=(
        "ohmykube image load app:dev",
        "ohmykube image load app.tar other.tar --name dev",
        "ohmykube image list",
    ),
    callback=_overview,
    invoke_without_command=True,
    help="Bring your own images to a cluster's nodes; only what a node lacks travels.",
)
