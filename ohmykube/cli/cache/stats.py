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
    """Show how large the cache is, what sharing saves, and how often it was used.

    APART is what the artifacts would need if each had its own copy of every blob, TOGETHER what
    they take.
    """
    from ohmykube.workflows import cache

    found = app.call(cache.stats)
    app.show(results.stats(found), lambda: texts.stats(found))
