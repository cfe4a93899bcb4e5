"""``ohmykube cp``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command

if TYPE_CHECKING:
    from ohmykube.cli._app import App

MOST_TOLD = 10


@click.command(
    cls=Command,
    examples=(
        "ohmykube cp app.conf w1:/etc/app/",
        "ohmykube cp ./data w1:/srv/data",
        "ohmykube cp w1:/var/log/pods ./logs",
        "ohmykube cp --name dev cp1:/etc/kubernetes/manifests/. manifests",
    ),
)
@click.argument("source", shell_complete=_options.complete_places)
@click.argument("target", shell_complete=_options.complete_places)
@_options.cluster_by_name
@_options.talk
@_options.pass_app
def cp(app: App, *, source: str, target: str, name_option: str | None) -> None:
    """Copy a file or a directory to a node, or from one.

    A path of a node is NODE:PATH. Where TARGET is a directory, the copy is made inside of it;
    SOURCE/. copies what is in a directory. Modes are kept, and on a node all belongs to root.
    """
    from ohmykube.workflows import copy

    both = copy.place(source), copy.place(target)
    name = _names.choose(app, None, name_option)
    done = app.call(copy.copy, name, *both)
    for line in done.skipped[:MOST_TOLD]:
        app.note(f"warning: not copied: {line}")
    if len(done.skipped) > MOST_TOLD:
        app.note(f"warning: not copied: {len(done.skipped) - MOST_TOLD} more")
    app.note(f"{done.count} file{'s' * (done.count != 1)} copied")
