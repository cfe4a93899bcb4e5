"""``ohmykube image pull``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.image import options

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube image pull nginx:1.29",
        "ohmykube image pull quay.io/org/app:1 --name dev --node w1",
    ),
)
@click.argument("references", metavar="REF...", nargs=-1, required=True)
@options.cluster
@options.nodes
@_options.output
@_options.talk
@_options.pass_app
def pull(
    app: App, *, references: tuple[str, ...], name_option: str | None, nodes: tuple[str, ...]
) -> None:
    """Pull images from a registry onto the nodes of a cluster.

    Each image is fetched once, into the cache, with the credentials of `docker login` where
    needed.
    """
    from ohmykube.workflows import images

    name = _names.choose(app, None, name_option)
    app.acting()
    result = app.call(images.pull, name, references, nodes)
    options.show(app, result)
