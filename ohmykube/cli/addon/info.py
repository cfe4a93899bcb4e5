"""``ohmykube addon info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.addon import results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=("ohmykube addon info flannel", "ohmykube addon info flannel --version 0.26.7"),
)
@click.argument("name")
@click.option("--version", help="One of its versions (default: the preferred one).")
@_options.output
@_options.talk
@_options.pass_app
def info(app: App, *, name: str, version: str | None) -> None:
    """Show what an add-on needs, fetches and takes; changes nothing."""
    from ohmykube.workflows import addons

    found = app.call(addons.info, name, version)
    app.show(results.info(found), lambda: texts.info(found))
