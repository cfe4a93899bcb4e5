"""``ohmykube bundle verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.bundle import options, results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube bundle verify dev.omk.tar",
        "ohmykube bundle verify dev.omk.tar --allowed-signers allowed_signers",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@options.allowed_signers
@_options.output
@_options.talk
@_options.pass_app
def verify(app: App, *, file: Path, allowed_signers: Path | None) -> None:
    """Hash everything in a bundle, or in its parts, and check its signature.

    Damaged parts are named. Without --allowed-signers an unsigned bundle is accepted, and the
    result says so. The exit code is 12 when anything is wrong.
    """
    from ohmykube.workflows import bundle

    found = app.call(bundle.verify, file, allowed_signers)
    app.show(results.report(found), lambda: texts.verify(found))
