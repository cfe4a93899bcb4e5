"""A plan as a document and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from ohmykube.cli import _output
from ohmykube.cli.cluster.change_results import PlannedChange, changes
from ohmykube.model import change
from ohmykube.planning import refusal
from ohmykube.planning.refusal import shown
from ohmykube.ui.console import one_line
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ohmykube.workflows.up_values import UpResult


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


KINDS: dict[str, type] = {"Plan": Plan}


def document(result: UpResult, advised: Callable[[str], str]) -> dict[str, Any]:
    """Return what ``up`` would do.

    Args:
        result: has the plan.
        advised: writes the commands in a text so that they can be typed.
    """
    plan = result.plan
    return _output.document(
        "Plan",
        {
            "cluster": result.cluster,
            "changes": changes(plan),
            "refused": [_refusal(one, advised) for one in plan.refusals],
        },
    )


def _refusal(one: change.Refuse, advised: Callable[[str], str]) -> dict[str, Any]:
    return {
        "node": one.node or None,
        "field": one.field,
        "old": one.old,
        "new": one.new,
        "why": advised(one.why),
        "wayOut": advised(one.way_out),
    }


def text(result: UpResult) -> str:
    """Return what ``up`` would do, a row for each change."""
    plan = result.plan
    rows = [_row(one) for one in plan.changes]
    rows += [("!", _place(one), f"{_values(one)}: refused") for one in plan.refusals]
    if not rows:
        return f'Cluster "{result.cluster}" is as described: nothing to do\n'
    head = f'Plan for cluster "{result.cluster}"\n\n'
    reasons = "".join(map(_reason, refusal.alike(plan.refusals)))
    return head + table(("do", "what", "change"), rows) + ("\n" + reasons if reasons else "")


def _reason(refused: Sequence[change.Refuse]) -> str:
    nodes = ", ".join(one.node for one in refused if one.node)
    return f"{refused[0].field}{f' ({nodes})' if nodes else ''}: {refused[0].why}\n"


Row = tuple[str, str, str]
MOST_REASONS = 3
"""Reasons for one change that are shown to people."""


def _row(one: change.Change) -> Row:
    match one:
        case change.CreateNode():
            return "+", f"node {one.node}", f"create a {_role(one)}"
        case change.DeleteNode():
            return "-", f"node {one.node}", f"delete a {_role(one)}: {one.reason}"
        case change.InstallAddon() | change.UpgradeAddon() | change.RemoveAddon():
            return _addon_row(one)
        case change.FinishRun():
            return "~", "cluster", "configure the nodes: the last run did not end"
        case change.UpdateSetting() | change.ReconfigureNode() | change.ReconfigureCluster():
            nothing = isinstance(one, change.UpdateSetting)
            more = " (nothing in the cluster changes)" if nothing else ""
            return "~", _place(one), _values(one) + more
        case _:
            return "~", f"node {one.node}", _to_a_node(one)


def _to_a_node(
    one: change.RepairNode | change.StartNode | change.ReachNode | change.ConfigureNode,
) -> str:
    match one:
        case change.RepairNode():
            return "make its machine whole: it is half made"
        case change.StartNode():
            return "start its machine: it is stopped"
        case change.ReachNode():
            return f"reach its machine, whose state is unknown: {one_line(one.problem)}"
        case change.ConfigureNode():
            return f"configure: {_shortly(one.reasons)}"


def _shortly(reasons: Sequence[str]) -> str:
    """Return the first reasons; what else there is stands in the document."""
    shown = "; ".join(one_line(why) for why in reasons[:MOST_REASONS])
    more = len(reasons) - MOST_REASONS
    return f"{shown}; and {more} more" if more > 0 else shown


def _role(one: change.CreateNode | change.DeleteNode) -> str:
    return one.role.value.replace("-", " ")


def _addon_row(
    one: change.InstallAddon | change.UpgradeAddon | change.RemoveAddon,
) -> tuple[str, str, str]:
    what = f"add-on {one.addon}"
    match one:
        case change.InstallAddon():
            return "+", what, f"install {one.version}"
        case change.UpgradeAddon():
            return "~", what, f"{one.field}: {shown(one.old)} -> {shown(one.new)}"
        case change.RemoveAddon():
            lost = f", with {', '.join(one.owns)}" if one.owns else ""
            return "-", what, f"remove {one.version}{lost}"


def _place(
    one: change.ReconfigureNode | change.ReconfigureCluster | change.UpdateSetting | change.Refuse,
) -> str:
    node = getattr(one, "node", "")
    return f"{one.field} ({node})" if node else one.field


def _values(
    one: change.ReconfigureNode | change.ReconfigureCluster | change.UpdateSetting | change.Refuse,
) -> str:
    return f"{shown(one.old)} -> {shown(one.new)}"
