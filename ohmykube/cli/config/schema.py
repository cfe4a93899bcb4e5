"""``ohmykube config schema``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=("ohmykube config schema > cluster.schema.json", "ohmykube config schema output"),
)
@click.argument("what", type=click.Choice(["cluster", "output"]), default="cluster")
@_options.pass_app
def schema(app: App, *, what: str) -> None:
    """Print the JSON schema of cluster.yaml, or of what `-o json` prints."""
    if what == "output":
        from ohmykube.cli.config import output_schema

        content = output_schema.schema()
    else:
        from ohmykube.config import json_schema

        content = json_schema.schema()
    app.write(json.dumps(content, indent=2) + "\n")
