"""``ohmykube template build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.template import results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App

NAMELESS = "template"
"""Name of the cluster whose templates are built when no file describes one; it is never made."""


@click.command(
    cls=Command,
    examples=("ohmykube template build", "ohmykube template build -f cluster.yaml"),
)
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Description of the cluster; - reads stdin. Default: the cluster that `up` makes.",
)
@_options.output
@_options.talk
@_options.pass_app
def build(app: App, *, file: Path | None) -> None:
    """Build the templates for a cluster's nodes that do not exist yet.

    For each role one machine is prepared in the same way as a node, and then frozen.
    """
    from ohmykube.cli import _cluster_file
    from ohmykube.config.overrides import Overrides
    from ohmykube.workflows import templates

    wanted = Overrides(name=NAMELESS) if file is None else None
    cluster = _cluster_file.load(app, file, wanted)
    app.acting()
    done = app.call(templates.build, cluster)
    app.show(results.built(done), lambda: texts.built(done))
