"""``ohmykube template`` and its commands, one module for each."""

from __future__ import annotations

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Entry, LazyGroup

TABLE = {
    "list": Entry(f"{__name__}.list", "list_", "List the templates."),
    "build": Entry(f"{__name__}.build", "build", "Build those that fit a cluster."),
    "prune": Entry(f"{__name__}.prune", "prune", "Remove those not used for longest."),
    "rm": Entry(f"{__name__}.rm", "rm", "Remove those that are named."),
}


def _overview() -> None:
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        _options.app_of(ctx).write(ctx.get_help() + "\n")


template = LazyGroup(
    "template",
    table=TABLE,
    examples=("ohmykube template list", "ohmykube template build -f cluster.yaml"),
    callback=_overview,
    invoke_without_command=True,
    help="Look after prepared nodes that `up` clones.",
)
