"""Results of the commands on templates, as documents and as text for people."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, TypedDict

from ohmykube.cli._output import document
from ohmykube.ui.console import seconds, size
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.providers.base import Template
    from ohmykube.workflows.templates import Built

NAMELESS = "template"
"""Name of the cluster whose templates are built when no file describes one; it is never made."""


class TemplateItem(TypedDict):
    """One template; ``size`` in bytes, times in ISO 8601."""

    key: str
    role: str
    summary: str
    createdAt: str
    lastUsedAt: str
    size: int


class TemplateList(TypedDict):
    """``ohmykube template list``."""

    items: list[TemplateItem]


class TemplatesBuilt(TypedDict):
    """``ohmykube template build``."""

    items: list[TemplateItem]
    made: list[str]
    seconds: float


class TemplatesRemoved(TypedDict):
    """``ohmykube template prune`` and ``rm``; ``freed`` in bytes."""

    dryRun: bool
    items: list[TemplateItem]
    freed: int


KINDS: dict[str, type] = {
    "TemplateList": TemplateList,
    "TemplatesBuilt": TemplatesBuilt,
    "TemplatesRemoved": TemplatesRemoved,
}
"""Document kinds by name."""


def _iso(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="seconds")


def _items(found: Sequence[Template]) -> list[TemplateItem]:
    return [
        TemplateItem(
            key=one.key,
            role=one.role,
            summary=one.summary,
            createdAt=_iso(one.created_at),
            lastUsedAt=_iso(one.last_used_at),
            size=one.size,
        )
        for one in found
    ]


def templates(found: Sequence[Template]) -> dict[str, Any]:
    """Return the document of ``list``."""
    return document("TemplateList", {"items": _items(found)})


def templates_text(found: Sequence[Template]) -> str:
    """Return a table."""
    if not found:
        return "No templates.\n"
    rows = [(t.key, t.role, t.summary, size(t.size), _iso(t.last_used_at)) for t in found]
    return table(("key", "role", "what", "size", "last used"), rows)


def built(done: Built) -> dict[str, Any]:
    """Return the document of ``build``."""
    content = TemplatesBuilt(
        items=_items(done.templates), made=list(done.made), seconds=round(done.seconds, 1)
    )
    return document("TemplatesBuilt", content)


def built_text(done: Built) -> str:
    """Return what fits, and how many of it are new."""
    made = f"{len(done.made)} built in {seconds(done.seconds)}" if done.made else "all were there"
    return templates_text(done.templates) + f"\n{made}\n"


def removed(gone: Sequence[Template], *, dry_run: bool) -> dict[str, Any]:
    """Return the document of ``prune`` and ``rm``."""
    content = TemplatesRemoved(
        dryRun=dry_run, items=_items(gone), freed=sum(one.size for one in gone)
    )
    return document("TemplatesRemoved", content)


def removed_text(gone: Sequence[Template], *, dry_run: bool) -> str:
    """Return what went and what that gives back."""
    if not gone:
        return "Nothing to remove.\n"
    verb = "Would remove" if dry_run else "Removed"
    keys = ", ".join(one.key for one in gone)
    return f"{verb} {keys}: {size(sum(one.size for one in gone))}\n"
