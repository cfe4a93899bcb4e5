"""``ohmykube cache import``."""

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
    "import",
    cls=Command,
    examples=(
        "ohmykube cache import dev.omk.tar",
        "ohmykube cache import /media/usb/dev.omk.tar.sha256   # a bundle in parts",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@options.allowed_signers
@_options.output
@_options.talk
@_options.pass_app
def import_(app: App, *, file: Path, allowed_signers: Path | None) -> None:
    """Copy a bundle, in one file or in parts, into the cache.

    Every blob is hashed while it is copied. Blobs that the cache already has are skipped, so an
    interrupted import continues where it stopped. `up --bundle` uses a bundle without copying it.
    """
    from ohmykube.workflows import bundle

    app.acting()
    result = app.call(bundle.import_, file, allowed_signers)
    app.show(results.imported(result), lambda: texts.imported(result))
