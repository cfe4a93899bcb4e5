"""Compare what is wanted with what was recorded and with what is there."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ohmykube.config.document import to_document
from ohmykube.config.load import from_document
from ohmykube.model import change
from ohmykube.planning import recording, refusal
from ohmykube.planning.diff import diff
from ohmykube.progress import Message
from ohmykube.steps.observe import observe
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from ohmykube.planning.observation import Observed
    from ohmykube.steps.context import Context


PLAN = Step("plan", "Compare with what is there")


def make_plan(ctx: Context, *, only_look: bool = False) -> tuple[Observed, change.Plan]:
    """Return what is there and what must change; changes nothing.

    Reality outranks the record: the provider is asked.

    Args:
        ctx: the cluster as it is wanted, and as it was recorded.
        only_look: the plan is shown as a whole by whoever asked for it; nothing is told here, and
            what is refused is no error.

    Raises:
        ConfigError: the cluster differs in what cannot be changed; nothing was touched.
        As ``observe``.
    """
    with PLAN.running(ctx.services) as result:
        observed = observe(ctx)
        plan = diff(ctx.cluster, ctx.recorded, observed)
        if not only_look:
            if plan.refusals:
                raise refusal.error(ctx.cluster.name, plan)
            _must_load(ctx, plan)
            _tell(ctx, plan)
        result.detail = _summary(plan)
    return observed, plan


def _must_load(ctx: Context, plan: change.Plan) -> None:
    """Refuse a description that does not go together with the nodes that stay beside it."""
    if plan.left:
        whole = recording.settled(ctx.cluster, ctx.recorded, plan)
        from_document(to_document(whole), label="the cluster with the nodes left as they are")


def _tell(ctx: Context, plan: change.Plan) -> None:
    emit = ctx.services.reporter.emit
    for one in plan.left:
        text = f"node {one.node} is not in the desired cluster; it is left as it is"
        emit(Message(text=text, level="warning"))
    for found in plan.changes:
        match found:
            case change.ReconfigureNode() | change.ReconfigureCluster() | change.UpdateSetting():
                node = getattr(found, "node", "")
                place = f"{found.field} of node {node}" if node else found.field
                values = f"{refusal.shown(found.old)} becomes {refusal.shown(found.new)}"
                emit(Message(text=f"{place}: {values}"))


def _summary(plan: change.Plan) -> str:
    counts = Counter(isinstance(one, change.CreateNode) for one in plan.changes)
    parts = [
        f"{counts[True]} to create" if counts[True] else "",
        f"{counts[False]} to change" if counts[False] else "",
        f"{len(plan.refusals)} refused" if plan.refusals else "",
        f"{len(plan.left)} left alone" if plan.left else "",
    ]
    return ", ".join(part for part in parts if part) or "as described"
