"""Bring images of the store to nodes: only what a node lacks, all nodes at once.

A node's containerd pulls from this host's read-only server, through a tunnel: it checks digests,
goes on in mid-blob, and fetches blobs side by side. Where that cannot be (sshd refuses the tunnel,
or containerd does not ask this host), an archive with the missing blobs is streamed into it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from ohmykube.errors import NodeError, OhmykubeError
from ohmykube.kit import interrupt, parallel
from ohmykube.progress import NodeProgress, Status
from ohmykube.state import layout
from ohmykube.steps.deliver_to_node import Access, Delivery, NodeDelivery
from ohmykube.steps.node_images import NodeImages
from ohmykube.steps.repack_layers import SEVERAL, repack_layers
from ohmykube.steps.serve import token
from ohmykube.steps.step import Step
from ohmykube.steps.tunnel import SharedForward
from ohmykube.steps.wanted_images import wanted_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ohmykube.cache.store import Ref, Store
    from ohmykube.steps.context import Context, Services
    from ohmykube.steps.probe_nodes import Probed
    from ohmykube.steps.wanted_images import Wanted


DELIVER_IMAGES = Step("deliver-images", "Bring the images to the nodes")


def deliver_images(
    ctx: Context, probed: Probed, refs: Sequence[Ref], store: Store
) -> tuple[Delivery, ...]:
    """Bring images to the nodes that answer; a node gets those of its architecture.

    Returns:
        What each node got, in the order of the nodes. One that fails, or does not answer, is told
        there and stops no other.
    """
    with DELIVER_IMAGES.running(ctx.services) as result:
        deliveries = tuple(_deliveries(ctx, probed, refs, store))
        interrupt.check()
        store.count("bytes_out", sum(one.sent for one in deliveries))
        store.count("bytes_saved", sum(one.skipped for one in deliveries))
        fine = [one for one in deliveries if one.error is None]
        result.detail = f"{len(fine)} of {len(deliveries)} nodes"
    return deliveries


def _deliveries(
    ctx: Context, probed: Probed, refs: Sequence[Ref], store: Store
) -> Iterator[Delivery]:
    wanted = wanted_of(store, refs)
    secret = token(ctx.directory).reveal() if probed.answers else ""
    owner = f"delivery to {ctx.cluster.name}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.lease(owner, _digests(wanted)))
        works = [_work(ctx, probed, node, store, secret) for node in probed.answers]
        _all(works, lambda work: work.look(_mine(work.node, probed, wanted)))
        lacking = Counter(ref for work in works for ref in work.lacking)
        several = [ref for ref, nodes in lacking.items() if nodes >= SEVERAL]
        if repack_layers(ctx.services.reporter, store, several):
            wanted = wanted_of(store, refs)
            stack.enter_context(store.lease(owner, _digests(wanted)))
        _all(works, lambda work: work.bring(_mine(work.node, probed, wanted)))
    done = {work.node: work.delivery for work in works}
    for node in probed.nodes:
        yield done[node] if node in done else Delivery(node, error=probed.lost[node])


def _work(ctx: Context, probed: Probed, node: str, store: Store, secret: str) -> _NodeWork:
    images = NodeImages(probed.answers[node].shell)
    log_file = ctx.run_directory / layout.TUNNEL_LOG.format(node=node)

    def link(port: int) -> SharedForward:
        return SharedForward(probed.ssh_config, node, port, log_file)

    delivery = Delivery(node)
    inner = NodeDelivery(ctx.services, images, delivery, store, Access(secret, link))
    return _NodeWork(ctx.services, delivery, inner)


def _mine(node: str, probed: Probed, wanted: Sequence[Wanted]) -> list[Wanted]:
    arch = probed.answers[node].arch
    mine = [w for w in wanted if w.ref.arch == arch]
    if not mine:
        raise _no_image(node, arch, wanted)
    return mine


def _all(works: Sequence[_NodeWork], call: Callable[[_NodeWork], None]) -> None:
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
