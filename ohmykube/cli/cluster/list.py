"""``ohmykube list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cluster import results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    "list", cls=Command, examples=("ohmykube list", "ohmykube list -o json | jq '.items[].name'")
)
@_options.output
@_options.talk
@_options.pass_app
def list_(app: App) -> None:
    """Show all clusters of this user; changes nothing."""
    from ohmykube.workflows import status

    found = app.call(status.list_clusters)
    app.show(results.clusters(found), lambda: texts.clusters(found))
