"""``ohmykube config template``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(cls=Command, examples=("ohmykube config template > cluster.yaml",))
@_options.pass_app
def template(app: App) -> None:
    """Print a commented cluster.yaml with every field and its default."""
    from ohmykube.config.starter_file import text

    app.write(text())
