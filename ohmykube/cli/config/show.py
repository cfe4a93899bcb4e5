"""``ohmykube config show``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options, _output
from ohmykube.cli._lazy import Command
from ohmykube.cli.config import options

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.cli._app import App


@click.command(
    cls=Command, examples=("ohmykube config show", "ohmykube config show -f dev.yaml -o json")
)
@options.file
@_options.output
@_options.talk
@_options.pass_app
def show(app: App, *, file: Path) -> None:
    """Print a cluster.yaml as it is understood: current version, all defaults filled in."""
    from ohmykube.cli import _cluster_file
    from ohmykube.config.document import to_document

    content = to_document(_cluster_file.load(app, file))
    app.show(content, lambda: _output.render(content, "yaml", unicode=app.results.unicode))
