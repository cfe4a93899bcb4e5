"""``ohmykube image list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _image_options, _image_results, _names, _options
from ohmykube.cli._lazy import Command

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=("ohmykube image list", "ohmykube image list --node w1 -o json"),
)
@_image_options.cluster
@_image_options.nodes
@_options.output
@_options.talk
@_options.pass_app
def list_(app: App, *, name_option: str | None, nodes: tuple[str, ...]) -> None:
    """Show which images the nodes of a cluster have, and which node lacks one."""
    from ohmykube.workflows import images

    name = _names.choose(app, None, name_option)
    found = app.call(images.list_images, name, nodes)
    app.show(_image_results.listing(found), _image_results.listing_text(found))
