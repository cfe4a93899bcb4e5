"""``ohmykube template list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.template import options, results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command("list", cls=Command, examples=("ohmykube template list",))
@options.provider
@_options.output
@_options.talk
@_options.pass_app
def list_(app: App, *, provider: str) -> None:
    """Show the templates, most recently used first; changes nothing."""
    from ohmykube.workflows import templates

    found = app.call(templates.list_templates, provider)
    app.show(results.templates(found), lambda: texts.templates(found))
