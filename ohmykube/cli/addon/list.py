"""``ohmykube addon list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.addon import results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command("list", cls=Command, examples=("ohmykube addon list",))
@_options.output
@_options.talk
@_options.pass_app
def list_(app: App) -> None:
    """Show the add-ons that are installed on this host; changes nothing."""
    from ohmykube.workflows import addons

    found = app.call(addons.list_addons)
    app.show(results.addons(found), lambda: texts.addons(found))
