"""``ohmykube template list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options, _template_options, _template_results
from ohmykube.cli._lazy import Command

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command("list", cls=Command, examples=("ohmykube template list",))
@_template_options.provider
@_options.output
@_options.talk
@_options.pass_app
def list_(app: App, *, provider: str) -> None:
    """Show the templates, the last used first; changes nothing."""
    from ohmykube.workflows import templates

    found = app.call(templates.list_templates, provider)
    app.show(_template_results.templates(found), lambda: _template_results.templates_text(found))
