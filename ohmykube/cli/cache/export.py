"""``ohmykube cache export``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.bundle import options, results, texts

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube cache export --to cache.omk.tar",
        "ohmykube cache export registry.k8s.io/pause:3.10.2 --to pause.omk.tar",
    ),
)
@click.argument("names", nargs=-1, metavar="[REF]...")
@click.option(
    "--to",
    "target",
    type=options.Target(),
    metavar="FILE",
    required=True,
    help="The file to write.",
)
@options.since
@options.form
@_options.output
@_options.talk
@_options.pass_app
def export(
    app: App,
    *,
    names: tuple[str, ...],
    target: Path,
    since: Path | None,
    split: int,
    key: Path | None,
) -> None:
    """Write the whole cache, or the named artifacts, to one OCI archive.

    REF is a name, NAME@VERSION or a digest, as `cache ls` shows them. The file is a bundle that
    `ctr images import`, skopeo and `cache import` can read.
    """
    from ohmykube.cache.bundle import read
    from ohmykube.cache.bundle.write import Form
    from ohmykube.workflows import bundle

    form = Form(since=read.load(since) if since else None, split=split, key=key)
    app.acting()
    result = app.call(bundle.export, names, target, form)
    app.show(results.written(result), lambda: texts.written(result))
