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
from ohmykube.steps import node_digests
from ohmykube.steps.observe import observe
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from ohmykube.planning.observation import Observed
    from ohmykube.steps.context import Context


PLAN = Step("plan", "Compare with what is there")


def make_plan(ctx: Context, *, only_look: bool = False) -> tuple[Observed, change.Plan]:
    """Return what is there and what must change; changes nothing.

    Reality outranks the record: the provider is asked, and the nodes are.

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
        configured = node_digests.configured(ctx)
        wanted = node_digests.expected(ctx, observed) if configured else None
        owned = (
            {one["name"]: one.get("owns", ()) for one in ctx.record.addons} if ctx.record else {}
        )
        plan = diff(ctx.cluster, ctx.recorded, observed, wanted, configured, owned=owned)
        if not only_look:
            if plan.refusals:
                raise refusal.error(ctx.cluster.name, plan)
            _must_load(ctx, plan)
            _tell(ctx, plan)
        result.detail = _summary(plan)
    return observed, plan


def _must_load(ctx: Context, plan: change.Plan) -> None:
    """Refuse a description that does not go together with the nodes that go after the new come."""
    if plan.deletions:
        both = recording.united(ctx.cluster, ctx.recorded, plan)
        from_document(to_document(both), label="the cluster with the nodes that are to be deleted")


def _tell(ctx: Context, plan: change.Plan) -> None:
    emit = ctx.services.reporter.emit
    for found in plan.changes:
        match found:
            case change.InstallAddon() | change.RemoveAddon():
                verb = "installed" if isinstance(found, change.InstallAddon) else "removed"
                emit(Message(text=f"add-on {found.addon} {found.version} is {verb}"))
            case change.UpgradeAddon():
                values = f"{refusal.shown(found.old)} becomes {refusal.shown(found.new)}"
                emit(Message(text=f"{found.field} of add-on {found.addon}: {values}"))
            case change.ReconfigureNode() | change.ReconfigureCluster() | change.UpdateSetting():
                node = getattr(found, "node", "")
                place = f"{found.field} of node {node}" if node else found.field
                values = f"{refusal.shown(found.old)} becomes {refusal.shown(found.new)}"
                emit(Message(text=f"{place}: {values}"))
            case change.ConfigureNode():
                for reason in found.reasons:
                    emit(Message(text=f"node {found.node}: {reason}"))
            case change.DeleteNode():
                emit(Message(text=f"node {found.node} is to be deleted: {found.reason}"))
            case _:
                pass


def _summary(plan: change.Plan) -> str:
    counts = Counter(
        type(one) if isinstance(one, change.CreateNode | change.DeleteNode) else None
        for one in plan.changes
    )
    parts = [
        f"{counts[change.CreateNode]} to create" if counts[change.CreateNode] else "",
        f"{counts[None]} to change" if counts[None] else "",
        f"{counts[change.DeleteNode]} to delete" if counts[change.DeleteNode] else "",
        f"{len(plan.refusals)} refused" if plan.refusals else "",
    ]
    return ", ".join(part for part in parts if part) or "as described"
