"""``ohmykube addon remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ohmykube.cli._lazy import Command
from ohmykube.cli.addon import changing

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube addon remove metrics-server",
        "ohmykube addon remove local-path --plan",
        "ohmykube addon remove local-path --yes",
    ),
)
@click.argument("add_ons", metavar="NAME...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask before add-ons with data are removed.")
@changing.options
def remove(app: App, /, *, add_ons: tuple[str, ...], yes: bool, **rest: Any) -> None:
    """Remove add-ons from a cluster; asks first where data would go with one.

    What is not there is as it should be. Take them out of your cluster file too, or the next
    `up -f` brings them back.
    """
    from ohmykube.config.overrides import AddonChange

    changes = [AddonChange(name=name, remove=True) for name in add_ons]
    changing.change(app, changes, yes=yes, **rest)
