"""``ohmykube expose list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.expose import results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    "list", cls=Command, examples=("ohmykube expose list", "ohmykube expose list dev -o json")
)
@_options.cluster
@_options.output
@_options.talk
@_options.pass_app
def list_(app: App, *, name_argument: str | None, name_option: str | None) -> None:
    """Show where this host reaches services and nodes of a cluster."""
    from ohmykube.workflows import expose

    name = _names.choose(app, name_argument, name_option)
    found = app.call(expose.exposed, name)
    app.show(results.exposed(found), texts.ports(found.cluster, found.exposed))
