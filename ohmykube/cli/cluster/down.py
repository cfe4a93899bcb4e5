"""``ohmykube down``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command
from ohmykube.cli.cluster import results, texts
from ohmykube.errors import NotFoundError, UsageError
from ohmykube.ui import console

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube down dev",
        "ohmykube down dev --yes",
        "ohmykube down dev --forget-unreachable",
    ),
)
@_options.cluster
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--forget-unreachable",
    is_flag=True,
    help="Also let go of hosts that cannot be reached; what is on them stays.",
)
@_options.output
@_options.talk
@_options.pass_app
def down(
    app: App,
    *,
    name_argument: str | None,
    name_option: str | None,
    yes: bool,
    forget_unreachable: bool,
) -> None:
    """Remove a cluster, its machines and everything in them.

    Asks for the name of the cluster first. Machines that ohmykube did not make (provider ssh)
    stay, but what it set up on them is removed; one that cannot be reached belongs to the cluster
    until it can be, or is forgotten. Where there is nothing to remove, the exit code is 0.
    """
    from ohmykube.workflows import down as workflow

    name = _chosen(app, name_argument, name_option)
    # What is not there needs no yes: scripts that clean up can be run again.
    if name and app.call(workflow.exists, name):
        if not yes:
            _confirm(app, name, " --forget-unreachable" if forget_unreachable else "")
        app.acting()
        result = app.call(workflow.down, name, forget_unreachable=forget_unreachable)
    else:
        result = workflow.DownResult(cluster=name, removed=(), existed=False)
    app.show(results.down(result), texts.down(result))


def _chosen(app: App, argument: str | None, option: str | None) -> str:
    """Return the name of the cluster; an empty one when none is named and there is none."""
    try:
        return _names.choose(app, argument, option)
    except NotFoundError:
        return ""


def _confirm(app: App, name: str, options: str) -> None:
    again = f"ohmykube down {name}{options} --yes"
    if not console.can_ask(app.stderr):
        raise UsageError(
            f'removing cluster "{name}" needs a yes',
            why="there is no terminal to ask on",
            hint=again,
            id="OMK-U-103",
        )
    with app.signals.asking():
        answer = console.ask(
            f'This removes cluster "{name}" with its machines and all their data.\n'
            "Type its name to go on: ",
            app.stderr,
        )
    if answer != name:
        raise UsageError("not confirmed: nothing was removed", hint=again, id="OMK-U-109")
