"""``ohmykube bundle sbom``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube bundle sbom dev.omk.tar",
        "ohmykube bundle sbom dev.omk.tar > dev.cdx.json",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@_options.talk
@_options.pass_app
def sbom(app: App, *, file: Path) -> None:
    """Print the bill of materials of a bundle, as CycloneDX 1.6 JSON.

    The same bundle always gives the same document. It lists the artifacts, the components of
    packages and of our own images, and what is known about checksums, signatures and licences.
    """
    from ohmykube.addons import selection
    from ohmykube.cache import sbom as bill
    from ohmykube.workflows import bundle

    archive = app.call(bundle.inspect, file).archive
    content = bill.document(
        archive.refs,
        name=archive.bundle.name,
        kubernetes=archive.bundle.kubernetes,
        digest=archive.digest,
        sets=selection.known_sets(),
    )
    app.write(json.dumps(content, indent=2) + "\n")
