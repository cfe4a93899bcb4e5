"""``ohmykube status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cluster import results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(cls=Command, examples=("ohmykube status", "ohmykube status dev -o json"))
@_options.cluster
@_options.output
@_options.talk
@_options.pass_app
def status(app: App, *, name_argument: str | None, name_option: str | None) -> None:
    """Show one cluster and its nodes as they are now."""
    from ohmykube.workflows import status as workflow

    name = _names.choose(app, name_argument, name_option)
    found = app.call(workflow.status, name)
    app.show(results.status(found), lambda: texts.status(found))
