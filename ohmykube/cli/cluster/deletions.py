"""The question before nodes, or add-ons with data, are deleted, and what is asked for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ohmykube.cli import _advice
from ohmykube.errors import UsageError
from ohmykube.ui import console

if TYPE_CHECKING:
    from ohmykube.cli._app import App
    from ohmykube.model.cluster import Cluster
    from ohmykube.planning.consent import ConsentNeeded
    from ohmykube.workflows.up_values import UpOptions, UpResult


def bring_about(app: App, cluster: Cluster, wanted: UpOptions) -> UpResult:
    """Bring a cluster to what it should be; where something would be lost, ask and begin anew."""
    from ohmykube.planning.consent import ConsentNeeded
    from ohmykube.workflows import up as workflow

    try:
        return app.call(workflow.up, cluster, wanted)
    except ConsentNeeded as needed:
        agreed = replace(wanted, may_delete=ask(app, needed))
    return app.call(workflow.up, cluster, agreed)


def ask(app: App, needed: ConsentNeeded) -> frozenset[str]:
    """Ask whether all that may be deleted; return what was agreed to.

    Args:
        app: the terminal.
        needed: what would be deleted.

    Raises:
        UsageError: there is nobody to ask, or the answer was not yes.
    """
    needed.hint = again = f"{_advice.typed(click.get_current_context())} --yes"
    if not console.can_ask(app.stderr):
        raise needed
    app.pause_screen()
    with app.signals.asking():
        answer = console.ask(f"{needed.message}.\nGo on? [y/N] ", app.stderr)
    if (answer or "").strip().lower() not in ("y", "yes"):
        raise UsageError("not confirmed: nothing was changed", hint=again, id="OMK-U-281")
    return frozenset(needed.losses)
