"""``ohmykube bundle create``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.bundle import options, results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube bundle create -f cluster.yaml",
        "ohmykube bundle create --to /media/usb/dev.omk.tar --split 3900M",
        "ohmykube bundle create --since january.omk.tar --sign ~/.ssh/id_ed25519",
    ),
)
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path, allow_dash=True),
    default=Path("cluster.yaml"),
    show_default=True,
    help="Description of the cluster; - reads stdin.",
)
@click.option(
    "--to",
    "target",
    type=options.Target(),
    metavar="FILE",
    help="The file to write (default: NAME-k8sVERSION-ARCH.omk.tar here).",
)
@options.since
@options.form
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="REF",
    help="Include this image from the cache; can be repeated.",
)
@click.option(
    "--arch",
    "architectures",
    multiple=True,
    type=click.Choice(["amd64", "arm64"]),
    help="Architecture of the nodes (default: this host's); can be repeated.",
)
@_options.output
@_options.talk
@_options.pass_app
def create(
    app: App,
    *,
    file: Path,
    target: Path | None,
    since: Path | None,
    split: int,
    key: Path | None,
    images: tuple[str, ...],
    architectures: tuple[str, ...],
) -> None:
    """Write everything that the clusters of a description need to one file.

    The file holds the node packages, the images, the machines' base image, the collection and
    ohmykube itself. Whatever is not in the cache yet is fetched first. The same content always
    gives the same file.
    """
    from ohmykube.cli import _cluster_file
    from ohmykube.workflows import bundle

    cluster = _cluster_file.load(app, file)
    app.acting()
    wanted = bundle.CreateOptions(
        target=target,
        since=since,
        split=split,
        key=key,
        images=images,
        architectures=architectures,
    )
    result = app.call(bundle.create, cluster, wanted)
    app.show(results.written(result), lambda: texts.written(result))
