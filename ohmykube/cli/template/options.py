"""Options and questions of the commands on templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ohmykube.cli import _options
from ohmykube.cli._confirm import confirm as ask
from ohmykube.cli.template import texts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ohmykube.cli._app import App
    from ohmykube.providers.base import Template


def provider(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--provider``."""
    return click.option(
        "--provider",
        default="auto",
        show_default=True,
        shell_complete=_options.complete_providers,
        help="Provider that keeps the templates.",
    )(function)


def confirm(app: App, gone: Sequence[Template], again: str) -> None:
    """Ask before templates are removed; raises UsageError without a yes."""
    text = texts.templates(gone)
    ask(app, "templates", f"This removes:\n{text}".rstrip(), again)
