"""``ohmykube bundle inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.bundle import results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube bundle inspect dev.omk.tar",
        "ohmykube bundle inspect dev.omk.tar -o json",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@_options.output
@_options.talk
@_options.pass_app
def inspect(app: App, *, file: Path) -> None:
    """Show what is in a bundle, or in the parts of one.

    Reads only the list of its contents; `bundle verify` checks the contents against that list.
    """
    from ohmykube.workflows import bundle

    found = app.call(bundle.inspect, file)
    app.show(results.report(found), lambda: texts.inspect(found))
