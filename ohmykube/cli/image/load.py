"""``ohmykube image load``."""

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
        "ohmykube image load app:dev               # from docker, podman or nerdctl",
        "ohmykube image load app.tar --node w1     # docker save, or an OCI archive",
        "docker save app:dev | ohmykube image load -",
    ),
)
@click.argument("sources", metavar="SRC...", nargs=-1, required=True)
@options.cluster
@options.nodes
@click.option(
    "--from",
    "origin",
    type=click.Choice(("auto", "docker", "podman", "nerdctl")),
    default="auto",
    show_default=True,
    help="Where SRC comes from; auto prefers a file of that name.",
)
@click.option("--ref", "reference", default="", help="Name for an image that has none.")
@_options.output
@_options.talk
@_options.pass_app
def load(
    app: App,
    *,
    sources: tuple[str, ...],
    name_option: str | None,
    nodes: tuple[str, ...],
    origin: str,
    reference: str,
) -> None:
    """Load images from this host onto the nodes of a cluster.

    SRC is an image of docker, podman or nerdctl, an archive (docker save or OCI; plain, gzip or
    zstd), an OCI layout directory, or - for an archive on stdin.
    """
    from ohmykube.steps.import_images import Origin
    from ohmykube.workflows import images

    name = _names.choose(app, None, name_option)
    app.acting()
    wanted = images.LoadOptions(
        sources=sources, origin=Origin(origin), reference=reference, nodes=nodes
    )
    options.show(app, app.call(images.load, name, wanted))
