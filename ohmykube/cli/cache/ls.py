"""``ohmykube cache ls``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cache import results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    "ls",
    cls=Command,
    examples=(
        "ohmykube cache ls",
        "ohmykube cache ls image 1.36.3",
        "ohmykube cache ls -o json | jq -r '.items[] | select(.size > 5e7) | .name'",
    ),
)
@click.argument("words", nargs=-1, metavar="[WORD]...")
@_options.output
@_options.talk
@_options.pass_app
def ls(app: App, *, words: tuple[str, ...]) -> None:
    """List the artifacts in the cache, or those whose kind, name or version contains a WORD.

    USED shows which cluster or running program needs an artifact, or when it was last used.
    """
    from ohmykube.workflows import cache

    found = app.call(cache.artifacts, words)
    app.show(results.artifacts(found), lambda: texts.artifacts(found))
