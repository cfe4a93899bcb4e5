"""``ohmykube cache stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cache import results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command, examples=("ohmykube cache stats", "ohmykube cache stats -o json | jq .dedupeRatio")
)
@_options.output
@_options.talk
@_options.pass_app
def stats(app: App) -> None:
    """Show the size of the cache, what sharing saves, and how often the cache was used.

    APART is the size of the artifacts if each had its own copy of every blob, TOGETHER their
    actual size.
    """
    from ohmykube.workflows import cache

    found = app.call(cache.stats)
    app.show(results.stats(found), lambda: texts.stats(found))
