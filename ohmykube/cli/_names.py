"""Which cluster a command means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.errors import NotFoundError, UsageError
from ohmykube.model.names import RULE, is_name
from ohmykube.ui.console import shorten

if TYPE_CHECKING:
    from ohmykube.cli._app import App


def checked(name: str) -> str:
    """Return ``name``; raises UsageError when it cannot be the name of a cluster."""
    if not is_name(name):
        raise UsageError(
            f"{shorten(ascii(name), 60)} is not a cluster name",
            why=f"a cluster name has {RULE}",
            hint="ohmykube list",
            id="OMK-U-105",
        )
    return name


def given(argument: str | None, option: str | None) -> str | None:
    """Return the name that was given in one of two ways, or None.

    Raises:
        UsageError: two different names, or one that none can have.
    """
    if argument is not None and option is not None and argument != option:
        raise UsageError(
            f'two clusters are named: "{shorten(argument, 40)}" and "{shorten(option, 40)}"',
            hint=_one_of(argument, option),
            id="OMK-U-106",
        )
    # An empty name is a variable of somebody's script that is not set: never "the only cluster".
    name = option if argument is None else argument
    return None if name is None else checked(name)


def _one_of(*clusters: str) -> str | None:
    """Return the command that was typed for each cluster; None where it cannot be."""
    context = click.get_current_context(silent=True)
    if context is None or not all(map(is_name, clusters)):
        return None
    from ohmykube.cli import _advice

    return "\nor ".join(_advice.named(context, cluster) for cluster in clusters)


def choose(app: App, argument: str | None, option: str | None) -> str:
    """Return the name that was given, else that of the only cluster.

    Raises:
        UsageError: two different names, or several clusters and none named.
        NotFoundError: there is no cluster.
    """
    from ohmykube.workflows import names

    app.cluster = given(argument, option)
    if app.cluster is not None:
        return app.cluster
    known = app.call(names.clusters)
    if not known:
        raise NotFoundError("there is no cluster", hint="ohmykube up", id="OMK-U-107")
    app.cluster = known[0]
    if len(known) > 1:
        raise UsageError(
            "there are several clusters: name one",
            why="clusters: " + ", ".join(known),
            hint=app.advice.named(),
            id="OMK-U-108",
        )
    return app.cluster
