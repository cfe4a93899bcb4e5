"""Turn versions into digests and have every blob in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache import resolve
from ohmykube.cache.store import Store
from ohmykube.model.artifact import Kind
from ohmykube.steps.repacking import SEVERAL, repacked

if TYPE_CHECKING:
    from ohmykube.steps.base import Run


class Resolve:
    """Fills ``run.lock``; with a warm cache, and offline, it opens no connection."""

    name = "resolve"
    title = "Get the artifacts"

    def run(self, run: Run) -> str:
        """Raise NetworkError when no source has it, IntegrityError on a wrong digest."""
        store = Store(run.services.paths.cache)
        with store.using():  # nobody may prune between finding them and the lease
            run.lock = resolve.resolve(
                run.cluster, store, run.services.reporter, offline=run.offline
            )
            # Until the run has ended and the record names them, nobody may prune them.
            digests = [artifact.digest for artifact in run.lock.artifacts]
            run.cleanup.enter_context(store.lease(f"up of {run.cluster.name}", digests))
            self._repack(run, store)
        megabytes = sum(artifact.size for artifact in run.lock.artifacts) / 1e6
        return f"{len(run.lock.artifacts)} artifacts, {megabytes:.0f} MB"

    def _repack(self, run: Run, store: Store) -> None:
        """Spare the nodes work; a bundle that is used where it lies writes nothing to the cache."""
        if len(run.cluster.nodes) < SEVERAL or run.bundles:
            return
        images = [one for one in run.need_lock().artifacts if one.kind is Kind.IMAGE]
        repacked(run.services.reporter, store, images)
