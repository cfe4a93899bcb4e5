"""Bring images of the store to nodes: only what a node lacks, all nodes at once.

A node's containerd pulls from this host's read-only server, through a tunnel: it checks digests,
goes on in mid-blob, and fetches blobs side by side. Where that cannot be (sshd refuses the tunnel,
or containerd does not ask this host), an archive with the missing blobs is streamed into it.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from typing import TYPE_CHECKING

from ohmykube.errors import NodeError, OhmykubeError
from ohmykube.kit import interrupt, parallel
from ohmykube.progress import NodeProgress, Status
from ohmykube.steps.node_delivery import Access, Delivery, NodeDelivery
from ohmykube.steps.node_images import NodeImages
from ohmykube.steps.repacking import SEVERAL, repacked
from ohmykube.steps.serve import token
from ohmykube.steps.tunnel import SharedForward
from ohmykube.steps.wanted_images import wanted_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ohmykube.cache.store import Ref, Store
    from ohmykube.steps.base import Run, Services
    from ohmykube.steps.reach import Reach
    from ohmykube.steps.wanted_images import Wanted


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
        refs = tuple(self._refs())
        wanted = wanted_of(self._store, refs)
        found = [node for node in self._reach.nodes if node in self._reach.shells]
        secret = token(run.directory).reveal() if found else ""
        owner = f"delivery to {run.cluster.name}"
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._store.lease(owner, _digests(wanted)))
            works = [self._work(run, node, secret) for node in found]
            self._all(works, lambda work: work.look(self._mine(work.node, wanted)))
            lacking = Counter(ref for work in works for ref in work.lacking)
            several = [ref for ref, nodes in lacking.items() if nodes >= SEVERAL]
            if repacked(run.services.reporter, self._store, several):
                wanted = wanted_of(self._store, refs)
                stack.enter_context(self._store.lease(owner, _digests(wanted)))
            self._all(works, lambda work: work.bring(self._mine(work.node, wanted)))
        done = {work.node: work.delivery for work in works}
        for node in self._reach.nodes:
            lost = Delivery(node, error=self._reach.lost.get(node))
            self.deliveries[node] = done.get(node, lost)
        interrupt.check()
        self._store.count("bytes_out", sum(d.sent for d in self.deliveries.values()))
        self._store.count("bytes_saved", sum(d.skipped for d in self.deliveries.values()))
        fine = [d for d in self.deliveries.values() if d.error is None]
        return f"{len(fine)} of {len(self.deliveries)} nodes"

    def _work(self, run: Run, node: str, secret: str) -> _NodeWork:
        images = NodeImages(self._reach.shells[node])
        access = Access(secret, functools.partial(_link, run, node))
        delivery = Delivery(node)
        inner = NodeDelivery(run.services, images, delivery, self._store, access)
        return _NodeWork(run.services, delivery, inner)

    def _mine(self, node: str, wanted: Sequence[Wanted]) -> list[Wanted]:
        arch = self._reach.architectures[node]
        mine = [w for w in wanted if w.ref.arch == arch]
        if not mine:
            raise _no_image(node, arch, wanted)
        return mine

    def _all(self, works: Sequence[_NodeWork], call: Callable[[_NodeWork], None]) -> None:
        """Call for every node at once that has not failed."""
        todo = [work for work in works if work.delivery.error is None]
        parallel.each(todo, lambda work: work.guarded(call), at_most=max(1, len(todo)))


class _NodeWork:
    """One node's part; what goes wrong there is kept in ``delivery``."""

    def __init__(self, services: Services, delivery: Delivery, inner: NodeDelivery) -> None:
        self.node = delivery.node
        self.delivery = delivery
        self.lacking: list[Ref] = []
        """What the node has not, after ``look``."""
        self._services = services
        self._inner = inner

    def look(self, wanted: Sequence[Wanted]) -> None:
        self.lacking = [image.ref for image in self._inner.look(wanted)]

    def bring(self, wanted: Sequence[Wanted]) -> None:
        with self._inner as work:
            work.bring(wanted)
        delivery = self.delivery
        status = Status.CHANGED if delivery.delivered else Status.OK
        event = NodeProgress(node=self.node, activity=_what(delivery), status=status)
        self._services.reporter.emit(event)

    def guarded(self, call: Callable[[_NodeWork], None]) -> None:
        started = self._services.clock.now()
        try:
            call(self)
        except OhmykubeError as error:
            self.delivery.error = error
            event = NodeProgress(
                node=self.node, activity="failed", status=Status.FAILED, detail=error.message
            )
            self._services.reporter.emit(event)
        finally:
            self.delivery.seconds += self._services.clock.now() - started


def _link(run: Run, node: str, port: int) -> SharedForward:
    log_file = run.run_directory / f"tunnel-{node}.log"
    return SharedForward(run.need_ssh_config(), node, port, log_file)


def _what(delivery: Delivery) -> str:
    if not delivery.delivered:
        return "had everything"
    how = f"streamed, {delivery.why}" if delivery.why else "pulled"
    return f"{len(delivery.delivered)} new, {how}"


def _digests(wanted: Iterable[Wanted]) -> list[str]:
    forms = (form for image in wanted for form in (image.form, image.repacked) if form)
    return sorted({digest for form in forms for digest in form.blobs})


def _no_image(node: str, arch: str, wanted: Sequence[Wanted]) -> NodeError:
    there = ", ".join(sorted({f"linux/{w.ref.arch}" for w in wanted}))
    return NodeError(
        f"there is no image for node {node}, which is linux/{arch}",
        why=f"what was loaded is for {there}",
        hint=f"build or pull it with --platform linux/{arch}, then load it too",
        id="OMK-I-511",
    )
