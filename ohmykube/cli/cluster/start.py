"""``ohmykube start``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cluster import results, texts

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(cls=Command, examples=("ohmykube start", "ohmykube start dev"))
@_options.cluster
@_options.output
@_options.talk
@_options.pass_app
def start(app: App, *, name_argument: str | None, name_option: str | None) -> None:
    """Start a stopped cluster and wait until it is healthy.

    Also brings a cluster back after a reboot of this host.
    """
    from ohmykube.workflows import power

    name = _names.choose(app, name_argument, name_option)
    app.acting()
    result = app.call(power.start, name)
    app.show(results.power(result, "start"), texts.power(result, "start"))
