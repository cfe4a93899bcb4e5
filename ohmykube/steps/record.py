"""Remember in the cluster's record how far a run has come."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ohmykube.config.document import to_document
from ohmykube.planning import recording
from ohmykube.state.record import Record
from ohmykube.steps.observe import CONFIGURED

if TYPE_CHECKING:
    from ohmykube.steps.base import Run


class Remember:
    """Written before and after what changes machines; the machines stay the truth."""

    def __init__(self, stage: str) -> None:
        self.name = f"record-{stage}"
        self.title = ""
        self.stage = stage

    def run(self, run: Run) -> str:
        """Write what the cluster is known to be, and the stage reached; the run holds the lock."""
        store = run.services.state
        name = run.cluster.name
        if run.record is None:
            run.record = store.create(self._changed(run, _empty(run)))
        else:
            run.record = store.update(name, lambda record: self._changed(run, record))
        return self.stage

    def _changed(self, run: Run, record: Record) -> Record:
        lock = record.lock if run.lock is None else dataclasses.asdict(run.lock)
        done = (*(stage for stage in record.done if stage != self.stage), self.stage)
        if self.stage == CONFIGURED:
            known = recording.settled(run.cluster, run.recorded, run.plan)
        else:
            known = recording.under_way(run.cluster, run.recorded, run.observed, run.plan)
        return dataclasses.replace(
            record,
            document=to_document(known),
            kubernetes_version=run.cluster.kubernetes_version,
            lock=lock,
            done=done,
        )


def _empty(run: Run) -> Record:
    return Record(
        id="",
        name=run.cluster.name,
        document={},
        provider=run.provider.name,
        kubernetes_version=run.cluster.kubernetes_version,
    )
