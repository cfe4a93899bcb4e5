"""Changes as parts of documents: those of a plan, and those that were made."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from ohmykube.model import change


class PlannedChange(TypedDict):
    """One thing that `up` would do; values are null where there is none."""

    kind: Literal[
        "CreateNode",
        "RepairNode",
        "StartNode",
        "ReachNode",
        "ReconfigureNode",
        "ReconfigureCluster",
        "ConfigureNode",
        "InstallAddon",
        "UpgradeAddon",
        "RemoveAddon",
        "FinishRun",
        "DeleteNode",
        "UpdateSetting",
    ]
    node: str | None
    addon: str | None
    field: str | None
    old: Any
    """Of an add-on that is removed its version."""
    new: Any
    """Of an add-on that is installed its version."""
    reasons: list[str]
    losses: list[str]
    """Data that goes with an add-on that is removed."""


def changes(plan: change.Plan) -> list[dict[str, Any]]:
    """Return what of a plan is done, in its order."""
    return [_change(one) for one in plan.changes]


def _change(one: change.Change) -> dict[str, Any]:
    removed = one.version if isinstance(one, change.RemoveAddon) else None
    installed = one.version if isinstance(one, change.InstallAddon) else None
    return {
        "kind": type(one).__name__,
        "node": getattr(one, "node", "") or None,
        "addon": getattr(one, "addon", None),
        "field": getattr(one, "field", None),
        "old": getattr(one, "old", removed),
        "new": getattr(one, "new", installed),
        "reasons": _reasons(one),
        "losses": list(one.owns) if isinstance(one, change.RemoveAddon) else [],
    }


def _reasons(one: change.Change) -> list[str]:
    match one:
        case change.ConfigureNode():
            return list(one.reasons)
        case change.DeleteNode():
            return [one.reason]
        case change.ReachNode():
            return [one.problem]
        case _:
            return []
