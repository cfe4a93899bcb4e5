"""``ohmykube template prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _numbers, _options, _sizes
from ohmykube.cli._lazy import Command
from ohmykube.cli.template import options, results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube template prune --dry-run",
        "ohmykube template prune --keep 0 --yes",
        "ohmykube template prune --max-size 2GiB --yes",
    ),
)
@click.option(
    "--keep",
    type=_numbers.Whole(0),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of templates to keep for each role.",
)
@click.option(
    "--max-size",
    type=_sizes.Size(),
    metavar="SIZE",
    help="Total size that the templates may take.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@options.provider
@_options.output
@_options.talk
@_options.pass_app
def prune(
    app: App, *, keep: int, max_size: int | None, dry_run: bool, yes: bool, provider: str
) -> None:
    """Remove the least recently used templates.

    Clusters made from them are not affected: a node does not need its template once it exists.
    """
    from ohmykube.workflows import templates

    gone = app.call(templates.prune, provider, keep=keep, max_bytes=max_size, dry_run=True)
    if gone and not dry_run:
        if not yes:
            options.confirm(app, gone, "ohmykube template prune --yes")
        app.acting()
        gone = app.call(templates.prune, provider, keep=keep, max_bytes=max_size, dry_run=False)
    app.show(
        results.removed(gone, dry_run=dry_run),
        lambda: texts.removed(gone, dry_run=dry_run),
    )
