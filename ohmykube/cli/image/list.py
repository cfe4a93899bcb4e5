"""``ohmykube image list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.image import options, results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=("ohmykube image list", "ohmykube image list --node w1 -o json"),
)
@options.cluster
@options.nodes
@_options.output
@_options.talk
@_options.pass_app
def list_(app: App, *, name_option: str | None, nodes: tuple[str, ...]) -> None:
    """Show which images the nodes of a cluster have, and where one is missing."""
    from ohmykube.workflows import images

    name = _names.choose(app, None, name_option)
    found = app.call(images.list_images, name, nodes)
    app.show(results.listing(found), texts.listing(found))
