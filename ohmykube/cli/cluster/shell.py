"""``ohmykube shell``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ohmykube.cli import _names, _options
from ohmykube.cli._lazy import Command

if TYPE_CHECKING:
    from ohmykube.cli._app import App


@click.command(
    cls=Command,
    examples=(
        "ohmykube shell w1",
        "ohmykube shell w1 -- crictl ps",
        "ohmykube shell --name dev cp1",
    ),
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": True},
)
@click.argument("node", shell_complete=_options.complete_nodes)
@click.argument("words", metavar="[-- COMMAND...]", nargs=-1)
@_options.cluster_by_name
@_options.talk
@_options.pass_app
def shell(app: App, *, node: str, words: tuple[str, ...], name_option: str | None) -> None:
    """Open a shell on a node, or run one command there.

    The exit code is that of the shell or the command.
    """
    from ohmykube.workflows import access

    name = _names.choose(app, None, name_option)
    argv = app.call(access.shell_argv, name, node, words)
    with app.signals.elsewhere():
        code = app.interactive(argv)
    click.get_current_context().exit(code)
