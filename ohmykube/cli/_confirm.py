"""Asks before something is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import UsageError
from ohmykube.ui import console

if TYPE_CHECKING:
    from ohmykube.cli._app import App


def confirm(app: App, subject: str, what: str, again: str) -> None:
    """Ask before something is removed.

    Args:
        app: the terminal.
        subject: what kind of things they are, such as ``templates``.
        what: what will be removed, one line or several.
        again: the command that does not ask.

    Raises:
        UsageError: there is nobody to ask, or the answer was not yes.
    """
    if not console.can_ask(app.stderr):
        raise UsageError(
            f"removing {subject} needs a yes",
            why="there is no terminal to ask on",
            hint=again,
            id="OMK-U-301",
        )
    with app.signals.asking():
        answer = console.ask(f"{what}\nGo on? [y/N] ", app.stderr)
    if (answer or "").strip().lower() not in ("y", "yes"):
        raise UsageError("not confirmed: nothing was removed", hint=again, id="OMK-U-302")
