"""Results of the commands on templates, as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from ohmykube.cli._output import document, time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.providers.base import Template
    from ohmykube.workflows.templates import Built


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


def _items(found: Sequence[Template]) -> list[TemplateItem]:
    return [
        TemplateItem(
            key=one.key,
            role=one.role,
            summary=one.summary,
            createdAt=time(one.created_at),
            lastUsedAt=time(one.last_used_at),
            size=one.size,
        )
        for one in found
    ]


def templates(found: Sequence[Template]) -> dict[str, Any]:
    """Return the document of ``list``."""
    return document("TemplateList", {"items": _items(found)})


def built(done: Built) -> dict[str, Any]:
    """Return the document of ``build``."""
    content = TemplatesBuilt(
        items=_items(done.templates), made=list(done.made), seconds=round(done.seconds, 1)
    )
    return document("TemplatesBuilt", content)


def removed(gone: Sequence[Template], *, dry_run: bool) -> dict[str, Any]:
    """Return the document of ``prune`` and ``rm``."""
    content = TemplatesRemoved(
        dryRun=dry_run, items=_items(gone), freed=sum(one.size for one in gone)
    )
    return document("TemplatesRemoved", content)
