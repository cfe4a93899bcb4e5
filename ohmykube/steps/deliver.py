"""Bring images of the store to nodes: only what a node lacks, all nodes at once.

A node's containerd pulls from this host's read-only server, through a tunnel: it checks digests,
goes on in mid-blob, and fetches blobs side by side. Where that cannot be (sshd refuses the tunnel,
or containerd does not ask this host), an archive with the missing blobs is streamed into it.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ohmykube.errors import Interrupted, NodeError, OhmykubeError
from ohmykube.kit import interrupt
from ohmykube.progress import NodeProgress, Status
from ohmykube.steps.node_delivery import Access, Delivery, NodeDelivery, Wanted, wanted_of
from ohmykube.steps.node_images import NodeImages
from ohmykube.steps.serve import token
from ohmykube.steps.tunnel import Tunnel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ohmykube.cache.store import Ref, Store
    from ohmykube.steps.base import Run
    from ohmykube.steps.reach import Reach


class Deliver:
    """Brings images to the nodes that ``reach`` found."""

    name = "deliver"
    title = "Bring the images to the nodes"

    def __init__(self, reach: Reach, refs: Callable[[], Sequence[Ref]], store: Store) -> None:
        """``refs`` is called when the step runs; a node gets those of its architecture."""
        self._reach = reach
        self._refs = refs
        self._store = store
        self.deliveries: dict[str, Delivery] = {}
        """By node, those that did not answer included; in the order of the nodes."""

    def run(self, run: Run) -> str:
        """Fill ``deliveries``; a node that fails is told there and stops no other."""
        wanted = wanted_of(self._store, self._refs())
        found = [d for d in self._reach.nodes if d in self._reach.shells]
        secret = token(run.directory).reveal() if found else ""
        with (
            self._store.lease(f"delivery to {run.cluster.name}", _digests(wanted)),
            ThreadPoolExecutor(max_workers=max(1, len(found))) as pool,
        ):
            futures = {node: pool.submit(self._node, run, node, wanted, secret) for node in found}
        for node in self._reach.nodes:
            done = futures.get(node)
            self.deliveries[node] = (
                Delivery(node, error=self._reach.lost.get(node)) if done is None else done.result()
            )
        interrupt.check()
        self._store.count("bytes_out", sum(d.sent for d in self.deliveries.values()))
        self._store.count("bytes_saved", sum(d.skipped for d in self.deliveries.values()))
        fine = [d for d in self.deliveries.values() if d.error is None]
        return f"{len(fine)} of {len(self.deliveries)} nodes"

    def _node(self, run: Run, node: str, wanted: Sequence[Wanted], secret: str) -> Delivery:
        clock, emit = run.services.clock, run.services.reporter.emit
        started = clock.now()
        delivery = Delivery(node)
        mine = [w for w in wanted if w.ref.arch == self._reach.architectures[node]]
        try:
            if not mine:
                raise _no_image(node, self._reach.architectures[node], wanted)
            images = NodeImages(self._reach.shells[node])
            access = Access(secret, functools.partial(_tunnel, run, node))
            with NodeDelivery(run.services, images, delivery, self._store, access) as work:
                work.bring(mine)
        except Interrupted as error:
            delivery.error = error
        except OhmykubeError as error:
            delivery.error = error
            emit(
                NodeProgress(
                    node=node, activity="failed", status=Status.FAILED, detail=error.message
                )
            )
        else:
            what = _what(delivery)
            status = Status.CHANGED if delivery.delivered else Status.OK
            emit(NodeProgress(node=node, activity=what, status=status))
        delivery.seconds = clock.now() - started
        return delivery


def _tunnel(run: Run, node: str, port: int) -> Tunnel:
    return Tunnel(run.need_ssh_config(), node, port, run.run_directory / f"tunnel-{node}.log")


def _what(delivery: Delivery) -> str:
    if not delivery.delivered:
        return "had everything"
    how = f"streamed, {delivery.why}" if delivery.why else "pulled"
    return f"{len(delivery.delivered)} new, {how}"


def _digests(wanted: Iterable[Wanted]) -> list[str]:
    return sorted({digest for image in wanted for digest in image.blobs})


def _no_image(node: str, arch: str, wanted: Sequence[Wanted]) -> NodeError:
    there = ", ".join(sorted({f"linux/{w.ref.arch}" for w in wanted}))
    return NodeError(
        f"there is no image for node {node}, which is linux/{arch}",
        why=f"what was loaded is for {there}",
        hint=f"build or pull it with --platform linux/{arch}, then load it too",
        id="OMK-I-511",
    )
