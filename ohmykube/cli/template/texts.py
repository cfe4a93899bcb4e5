"""Results of the commands on templates, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cli._output import time
from ohmykube.kit import amounts
from ohmykube.ui.console import seconds
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.providers.base import Template
    from ohmykube.workflows.templates import Built


def templates(found: Sequence[Template]) -> str:
    """Return a table."""
    if not found:
        return "No templates.\n"
    rows = [(t.key, t.role, t.summary, amounts.size(t.size), time(t.last_used_at)) for t in found]
    return table(("key", "role", "what", "size", "last used"), rows)


def built(done: Built) -> str:
    """Return what fits, and how many of it are new."""
    made = f"{len(done.made)} built in {seconds(done.seconds)}" if done.made else "all were there"
    return templates(done.templates) + f"\n{made}\n"


def removed(gone: Sequence[Template], *, dry_run: bool) -> str:
    """Return what went and what that gives back."""
    if not gone:
        return "Nothing to remove.\n"
    verb = "Would remove" if dry_run else "Removed"
    keys = ", ".join(one.key for one in gone)
    return f"{verb} {keys}: {amounts.size(sum(one.size for one in gone))}\n"
