"""Options and questions of the commands on templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ohmykube.cli import _options, _template_results
from ohmykube.cli._confirm import confirm as ask

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
        help="Whose templates.",
    )(function)


def confirm(app: App, gone: Sequence[Template], again: str) -> None:
    """Ask before templates are removed; raises UsageError without a yes."""
    text = _template_results.templates_text(gone)
    ask(app, "templates", f"This removes:\n{text}".rstrip(), again)
