"""Turn versions into digests and have every blob in the cache."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ohmykube.addons import selection
from ohmykube.cache import resolve
from ohmykube.cache.store import Store
from ohmykube.kit import amounts
from ohmykube.model.artifact import Kind
from ohmykube.planning.scope import nodes_in
from ohmykube.steps.repack_layers import SEVERAL, repack_layers
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.planning.scope import Scope
    from ohmykube.steps.context import Context

RESOLVE = Step("resolve", "Get the artifacts")


@contextlib.contextmanager
def resolved(ctx: Context, scope: Scope = None) -> Iterator[ArtifactLock]:
    """Get the artifacts of the cluster, and keep them from ``prune`` while the block runs.

    With a warm cache, and offline, no connection is opened.

    Args:
        ctx: whose cluster.
        scope: the nodes that will get artifacts.

    Raises:
        NetworkError: no source has one of them.
        IntegrityError: a wrong digest.
    """
    with contextlib.ExitStack() as held:
        with RESOLVE.running(ctx.services) as result:
            store = Store(ctx.services.paths.cache)
            with store.using():  # nobody may prune between finding them and the lease
                lock = resolve.resolve(
                    ctx.cluster,
                    selection.release_of(ctx.cluster),
                    store,
                    ctx.services.reporter,
                    architectures=architectures(ctx),
                    offline=ctx.options.offline,
                )
                digests = [artifact.digest for artifact in lock.artifacts]
                held.enter_context(store.lease(f"up of {ctx.cluster.name}", digests))
                _repack(ctx, store, lock, scope)
            total = amounts.size(sum(artifact.size for artifact in lock.artifacts))
            result.detail = f"{amounts.count(len(lock.artifacts), 'artifact')}, {total}"
        yield lock


def architectures(ctx: Context) -> tuple[str, ...]:
    """Return those of the cluster's nodes; raises as the provider's ``architectures``."""
    told = ctx.provider.architectures([node.name for node in ctx.cluster.nodes])
    return tuple(sorted(set(told.values())))


def _repack(ctx: Context, store: Store, lock: ArtifactLock, scope: Scope) -> None:
    """Spare the nodes work; a bundle that is used where it lies writes nothing to the cache."""
    if len(nodes_in(ctx.cluster, scope)) < SEVERAL or ctx.options.bundles:
        return
    images = [one for one in lock.artifacts if one.kind is Kind.IMAGE]
    repack_layers(ctx.services.reporter, store, images)
