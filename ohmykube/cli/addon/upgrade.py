"""``ohmykube addon upgrade``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ohmykube.cli._lazy import Command
from ohmykube.cli.addon import changing
from ohmykube.errors import UsageError

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube addon upgrade metrics-server",
        "ohmykube addon upgrade metrics-server --version 0.9.0 --plan",
    ),
)
@click.argument("add_ons", metavar="NAME...", nargs=-1, required=True)
@click.option("--version", help="One of its versions (default: the preferred one).")
@changing.options
def upgrade(app: App, /, *, add_ons: tuple[str, ...], version: str | None, **rest: Any) -> None:
    """Bring add-ons of a cluster to another version, by default the preferred one.

    Their values stay.
    """
    from ohmykube.config.overrides import AddonChange

    if len(add_ons) > 1 and version is not None:
        raise UsageError("--version is for one add-on", why=", ".join(add_ons))
    changes = [AddonChange(name=name, preferred=True, version=version) for name in add_ons]
    changing.change(app, changes, **rest)
