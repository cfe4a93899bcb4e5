"""``ohmykube template rm``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.template import options, results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command, examples=("ohmykube template rm 605eff5f", "ohmykube template rm 605e 9c98 --yes")
)
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@options.provider
@_options.output
@_options.talk
@_options.pass_app
def rm(app: App, *, keys: tuple[str, ...], dry_run: bool, yes: bool, provider: str) -> None:
    """Remove templates by their keys, or by the beginnings of their keys.

    Clusters made from them are not affected: a node does not need its template once it exists.
    """
    from ohmykube.workflows import templates

    found = app.call(templates.select, provider, keys)
    if not dry_run:
        if not yes:
            again = shlex.join(["ohmykube", "template", "rm", *keys, "--yes"])
            options.confirm(app, found, again)
        app.acting()
        app.call(templates.remove, provider, found)
    app.show(
        results.removed(found, dry_run=dry_run),
        lambda: texts.removed(found, dry_run=dry_run),
    )
