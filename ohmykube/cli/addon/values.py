"""``ohmykube addon values``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _cluster_file, _names, _options, _output
from ohmykube.cli._lazy import Command
from ohmykube.cli.addon import results
from ohmykube.cli.image import options as of_cluster
from ohmykube.config.overrides import Overrides

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube addon values local-path",
        "ohmykube addon values local-path --all > values.yaml",
    ),
)
@click.argument("add_on", metavar="NAME")
@click.option("--all", "defaults", is_flag=True, help="Also those that nobody set.")
@of_cluster.cluster
@_options.output
@_options.talk
@_options.pass_app
def values(app: App, /, *, add_on: str, defaults: bool, name_option: str | None) -> None:
    """Print the values of an add-on of a cluster, as `addon install --values` reads them."""
    from ohmykube.workflows import addons

    name = _names.choose(app, None, name_option)
    cluster = _cluster_file.existing(app, name, Overrides())
    found = app.call(addons.values, cluster, add_on, defaults=defaults)
    content = results.values(name, add_on, found)
    app.show(content, lambda: _output.render(found.values, "yaml", unicode=app.results.unicode))
