"""The question before nodes are deleted."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ohmykube.errors import UsageError
from ohmykube.ui import console

if TYPE_CHECKING:
    from ohmykube.cli._app import App
    from ohmykube.planning.consent import ConsentNeeded


def ask(app: App, needed: ConsentNeeded) -> frozenset[str]:
    """Ask whether nodes may be deleted; return their names.

    Args:
        app: the terminal.
        needed: what would be deleted.

    Raises:
        UsageError: there is nobody to ask, or the answer was not yes.
    """
    needed.hint = again = f"{typed(click.get_current_context())} --yes"
    if not console.can_ask(app.stderr):
        raise needed
    app.pause_screen()
    with app.signals.asking():
        answer = console.ask(f"{needed.message}.\nGo on? [y/N] ", app.stderr)
    if (answer or "").strip().lower() not in ("y", "yes"):
        raise UsageError("not confirmed: nothing was changed", hint=again, id="OMK-U-281")
    return frozenset(needed.nodes)


def typed(context: click.Context) -> str:
    """Return the command as it was typed, without the options that every command has."""
    words = context.command_path.split()
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not given or name not in context.params:
            continue
        value: Any = context.params[name]
        if value is True:
            words.append(parameter.opts[-1])
            continue
        for one in value if parameter.multiple else (value,):
            words += [parameter.opts[0], str(one)]
    return shlex.join(words)
