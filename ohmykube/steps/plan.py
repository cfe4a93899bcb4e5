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

if TYPE_CHECKING:
    from ohmykube.steps.base import Run


class Plan:
    """Fill ``run.machines``, ``run.observed`` and ``run.plan``; changes nothing.

    Args:
        only_look: the plan is shown as a whole by whoever asked for it; nothing is told here, and
            what is refused is no error.
    """

    name = "plan"
    title = "Compare with what is there"

    def __init__(self, *, only_look: bool = False) -> None:
        self._only_look = only_look

    def run(self, run: Run) -> str:
        """Reality outranks the record: the provider is asked.

        Raises:
            ConfigError: the cluster differs in what cannot be changed; nothing was touched.
        """
        run.observed = observe(run)
        run.machines = run.observed.machines
        run.plan = diff(run.cluster, run.recorded, run.observed)
        if not self._only_look:
            if run.plan.refusals:
                raise refusal.error(run.cluster.name, run.plan)
            _must_load(run)
            _tell(run)
        return _summary(run.plan)


def _must_load(run: Run) -> None:
    """Refuse a description that does not go together with the nodes that stay beside it."""
    if run.plan.left:
        whole = recording.settled(run.cluster, run.recorded, run.plan)
        from_document(to_document(whole), label="the cluster with the nodes left as they are")


def _tell(run: Run) -> None:
    emit = run.services.reporter.emit
    for one in run.plan.left:
        text = f"node {one.node} is not in the desired cluster; it is left as it is"
        emit(Message(text=text, level="warning"))
    for found in run.plan.changes:
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
