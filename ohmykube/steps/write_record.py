"""Write into the cluster's record how far a run has come."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ohmykube.addons import selection
from ohmykube.config.document import to_document
from ohmykube.planning import recording
from ohmykube.state.record import Record
from ohmykube.steps.observe import CONFIGURED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.change import Plan
    from ohmykube.model.cluster import Cluster
    from ohmykube.model.node_state import NodeDigests
    from ohmykube.planning.observation import Observed
    from ohmykube.steps.context import Context

STARTED = "started"
"""The milestone before anything is changed; after it, ``CONFIGURED`` ends a whole run."""


def record_start(ctx: Context, observed: Observed, plan: Plan) -> None:
    """Write, before anything is changed, what the cluster is known to be.

    The machines stay the truth. The run holds the cluster's lock.
    """
    known = recording.under_way(ctx.cluster, ctx.recorded, observed, plan)
    if ctx.record is None:
        empty = Record(
            id="",
            name=ctx.cluster.name,
            document={},
            provider=ctx.provider.name,
            kubernetes_version=ctx.cluster.kubernetes_version,
        )
        ctx.services.state.create(_changed(ctx, empty, known, stage=STARTED, left={}))
    else:
        _update(ctx, known, STARTED, {})


def record_end(
    ctx: Context, left: Mapping[str, NodeDigests], lock: ArtifactLock | None = None
) -> None:
    """Write, after a whole run, that the cluster is as described.

    Args:
        ctx: the cluster.
        left: what the nodes on which the playbook has run were configured from, by name.
        lock: its artifacts; None where they are those of before.
    """
    _update(ctx, ctx.cluster, CONFIGURED, left, lock)


def _update(
    ctx: Context,
    known: Cluster,
    stage: str,
    left: Mapping[str, NodeDigests],
    lock: ArtifactLock | None = None,
) -> None:
    ctx.services.state.update(
        ctx.cluster.name,
        lambda record: _changed(ctx, record, known, stage=stage, left=left, lock=lock),
    )


def _changed(
    ctx: Context,
    record: Record,
    known: Cluster,
    *,
    stage: str,
    left: Mapping[str, NodeDigests],
    lock: ArtifactLock | None = None,
) -> Record:
    names = {node.name for node in known.nodes}
    nodes = {**record.nodes, **{name: dataclasses.asdict(one) for name, one in left.items()}}
    addons: dict[str, Mapping[str, Any]] = {
        one.name: dataclasses.asdict(one) for one in selection.applied(ctx.cluster)
    }
    if stage != CONFIGURED:  # those that are to be removed may still be there when it is killed
        addons = {**{one["name"]: one for one in record.addons}, **addons}
    return dataclasses.replace(
        record,
        document=to_document(known),
        kubernetes_version=ctx.cluster.kubernetes_version,
        lock=record.lock if lock is None else dataclasses.asdict(lock),
        addons=tuple(addons.values()),
        done=(*(earlier for earlier in record.done if earlier != stage), stage),
        nodes={name: one for name, one in nodes.items() if name in names},
    )
