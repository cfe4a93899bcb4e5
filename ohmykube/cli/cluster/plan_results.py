"""A plan as a document and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ohmykube.cli import _output
from ohmykube.model import change
from ohmykube.planning.refusal import shown
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from ohmykube.workflows.up_values import UpResult


class PlannedChange(TypedDict):
    """One thing that `up` would do; values are null where there is none."""

    kind: Literal[
        "CreateNode",
        "RepairNode",
        "StartNode",
        "ReconfigureNode",
        "ReconfigureCluster",
        "FinishRun",
        "UpdateSetting",
    ]
    node: str | None
    field: str | None
    old: Any
    new: Any


class Refusal(TypedDict):
    """One difference that `up` does not bring about."""

    node: str | None
    field: str
    old: Any
    new: Any
    why: str
    wayOut: str


class Plan(TypedDict):
    """``ohmykube plan`` and ``ohmykube up --plan``."""

    cluster: str
    changes: list[PlannedChange]
    refused: list[Refusal]
    leftAlone: list[str]


KINDS: dict[str, type] = {"Plan": Plan}


def document(result: UpResult) -> dict[str, Any]:
    """Return what ``up`` would do."""
    plan = result.plan
    return _output.document(
        "Plan",
        {
            "cluster": result.cluster,
            "changes": [_change(one) for one in plan.changes],
            "refused": [_refusal(one) for one in plan.refusals],
            "leftAlone": [one.node for one in plan.left],
        },
    )


def _change(one: change.Change) -> dict[str, Any]:
    return {
        "kind": type(one).__name__,
        "node": getattr(one, "node", "") or None,
        "field": getattr(one, "field", None),
        "old": getattr(one, "old", None),
        "new": getattr(one, "new", None),
    }


def _refusal(one: change.Refuse) -> dict[str, Any]:
    return {
        "node": one.node or None,
        "field": one.field,
        "old": one.old,
        "new": one.new,
        "why": one.why,
        "wayOut": one.way_out,
    }


def text(result: UpResult) -> str:
    """Return what ``up`` would do, a row for each change."""
    plan = result.plan
    rows = [_row(one) for one in plan.changes]
    rows += [("!", _place(one), f"{_values(one)}: refused") for one in plan.refusals]
    rows += [("=", f"node {one.node}", _LEFT) for one in plan.left]
    if not rows:
        return f'Cluster "{result.cluster}" is as described: nothing to do\n'
    head = f'Plan for cluster "{result.cluster}"\n\n'
    reasons = "".join(f"{_place(one)}: {one.why}; {one.way_out}\n" for one in plan.refusals)
    return head + table(("do", "what", "change"), rows) + ("\n" + reasons if reasons else "")


_LEFT = "left as it is: not described, and `up` removes no node"


def _row(one: change.Change) -> tuple[str, str, str]:
    match one:
        case change.CreateNode():
            return "+", f"node {one.node}", f"create a {one.role.value.replace('-', ' ')}"
        case change.RepairNode():
            return "~", f"node {one.node}", "make its machine whole: it is half made"
        case change.StartNode():
            return "~", f"node {one.node}", "start its machine: it is stopped"
        case change.FinishRun():
            return "~", "cluster", "configure the nodes: the last run did not end"
        case change.UpdateSetting():
            return "~", _place(one), f"{_values(one)} (nothing in the cluster changes)"
        case change.ReconfigureNode() | change.ReconfigureCluster():
            return "~", _place(one), _values(one)


def _place(
    one: change.ReconfigureNode | change.ReconfigureCluster | change.UpdateSetting | change.Refuse,
) -> str:
    node = getattr(one, "node", "")
    return f"{one.field} ({node})" if node else one.field


def _values(
    one: change.ReconfigureNode | change.ReconfigureCluster | change.UpdateSetting | change.Refuse,
) -> str:
    return f"{shown(one.old)} -> {shown(one.new)}"
