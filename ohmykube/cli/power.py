"""``ohmykube start`` and ``ohmykube stop``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _documents, _names, _options, _texts
from ohmykube.cli._lazy import Command

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(cls=Command, examples=("ohmykube start", "ohmykube start dev"))
@_options.cluster
@_options.output
@_options.talk
@_options.pass_app
def start(app: App, *, name_argument: str | None, name_option: str | None) -> None:
    """Start a stopped cluster and wait until it is healthy.

    Also brings a cluster back after this host was rebooted.
    """
    from ohmykube.workflows import power

    name = _names.choose(app, name_argument, name_option)
    app.acting()
    result = app.call(power.start, name)
    app.show(_documents.power(result, "start"), _texts.power(result, "start"))


@click.command(cls=Command, examples=("ohmykube stop", "ohmykube stop dev"))
@_options.cluster
@_options.output
@_options.talk
@_options.pass_app
def stop(app: App, *, name_argument: str | None, name_option: str | None) -> None:
    """Stop a cluster's machines; what they hold is kept."""
    from ohmykube.workflows import power

    name = _names.choose(app, name_argument, name_option)
    app.acting()
    result = app.call(power.stop, name)
    app.show(_documents.power(result, "stop"), _texts.power(result, "stop"))
