"""Images of the store on their way to one node."""

from __future__ import annotations

import contextlib
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol, cast

from ohmykube.cache import oci
from ohmykube.cache.serve import Server
from ohmykube.errors import (
    IntegrityError,
    Interrupted,
    NodeError,
    NotFoundError,
    OhmykubeError,
    UnreachableError,
)
from ohmykube.kit import interrupt, retry
from ohmykube.model.artifact import ArtifactLock, Kind, LockedArtifact
from ohmykube.progress import ItemProgress, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ohmykube.cache.store import Ref, Store
    from ohmykube.steps.base import Services
    from ohmykube.steps.node_images import NodeImages, Survey

AT_ONCE = 3
"""Images that one node pulls at a time."""
WEIGHTY = 1 << 20
"""Images that share a missing blob of so many bytes are pulled in turn. containerd fetches none
twice at a time either, but who waits for a blob there keeps one of the places."""
ATTEMPTS = 3
OPEN = retry.Wait(seconds=2, every=0.05, factor=1.5, longest=0.5)
PULLED, STREAMED, NOTHING = "pull", "stream", "none"


class Wanted(NamedTuple):
    """An image that a node should have."""

    ref: Ref
    blobs: Mapping[str, int]
    """Digest to bytes: manifest, config, layers."""

    def lacking(self, content: Iterable[str]) -> dict[str, int]:
        """Return the blobs that are not in ``content``."""
        there = frozenset(content)
        return {digest: size for digest, size in self.blobs.items() if digest not in there}

    def weighty(self, content: Iterable[str]) -> frozenset[str]:
        """Return the blobs that are not in ``content`` and worth waiting for."""
        return frozenset(d for d, size in self.lacking(content).items() if size >= WEIGHTY)


@dataclass(slots=True)
class Delivery:
    """What one node got."""

    node: str
    way: str = NOTHING
    """``pull``, ``stream``, or ``none`` when it had everything."""
    why: str = ""
    """Why the images were streamed; empty when they were not."""
    sent: int = 0
    """Bytes that went to it: bodies of blobs, or the streamed archive."""
    skipped: int = 0
    """Bytes of the images' blobs that did not travel: it had them, or the layers unpacked."""
    seconds: float = 0.0
    delivered: list[str] = field(default_factory=list)
    """References that it had not, or not like this."""
    error: OhmykubeError | None = None


class Link(Protocol):
    """What lets a node reach a server of this host, as ``tunnel.Tunnel`` does."""

    def wait(self, clock: retry.Clock, limit: retry.Wait) -> None:
        """Return once it is open, again if it was lost; raises UnreachableError when refused."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Access(NamedTuple):
    """How a node comes to this host's server."""

    token: str
    """Bearer token that the node's ``hosts.toml`` holds."""
    open: Callable[[int], Link]
    """Begins to open a link to a port of this host's loopback."""


def wanted_of(store: Store, refs: Iterable[Ref]) -> tuple[Wanted, ...]:
    """Return the images of references with their blobs; raises as ``oci.image_blobs``."""
    return tuple(
        Wanted(ref, {blob.digest: blob.size for blob in oci.image_blobs(store, ref.digest)})
        for ref in refs
    )


class NodeDelivery:
    """The work on one node. Everything it opens is closed when the block ends."""

    def __init__(
        self,
        services: Services,
        images: NodeImages,
        delivery: Delivery,
        store: Store,
        access: Access,
    ) -> None:
        self._services = services
        self._images = images
        self._delivery = delivery
        self._store = store
        self._access = access
        self._stack = contextlib.ExitStack()
        self._server: Server | None = None
        self._link: Link | None = None
        self._total = 0

    def __enter__(self) -> NodeDelivery:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._delivery.sent += self._server.stats.sent
        self._delivery.skipped = max(0, self._total - self._delivery.sent)
        self._stack.close()

    def bring(self, wanted: Sequence[Wanted]) -> None:
        """Bring what is missing.

        Raises:
            NodeError: an image is not there or not whole after several attempts.
            IntegrityError: a blob of the store is damaged; it was not sent.
        """
        last: OhmykubeError | None = None
        self._total = sum(_union(wanted, ()).values())
        survey = self._look()
        for attempt in range(1, ATTEMPTS + 1):
            todo = [w for w in wanted if not survey.has(w.ref.name, w.ref.digest)]
            if not todo:
                return
            self._delivery.delivered = list(
                dict.fromkeys([*self._delivery.delivered, *(w.ref.name for w in todo)])
            )
            try:
                self._attempt(todo, survey, attempt, wanted)
            except Interrupted:
                raise
            except OhmykubeError as error:
                self._give_up_on(error)
                last = error
            survey = self._look()
        todo = [w for w in wanted if not survey.has(w.ref.name, w.ref.digest)]
        if todo:
            names = ", ".join(w.ref.name for w in todo)
            raise self._refused(names, last) from last

    def _give_up_on(self, error: OhmykubeError) -> None:
        """Raise where another attempt would end the same."""
        if self._server is not None and self._server.damaged is not None:
            raise self._server.damaged
        if isinstance(error, IntegrityError | NotFoundError):
            raise error
        if "no space left on device" in (error.why or ""):
            raise self._refused("the images", error) from error

    def _refused(self, what: str, error: OhmykubeError | None) -> NodeError:
        node = self._delivery.node
        return NodeError(
            f"node {node} did not take {what}",
            why=(error.why or error.message) if error else "it is there, but not whole",
            hint=f"ohmykube shell {node} -- journalctl -u containerd --since -10min",
            id="OMK-I-510",
        )

    def _look(self) -> Survey:
        return self._images.survey(self._access.token)

    def _attempt(
        self, todo: Sequence[Wanted], survey: Survey, attempt: int, wanted: Sequence[Wanted]
    ) -> None:
        why = "pulling failed" if attempt == ATTEMPTS else self._obstacle(todo, survey, wanted)
        if not why:
            self._delivery.way = PULLED
            self._pull(todo, survey)
            return
        self._delivery.way, self._delivery.why = STREAMED, why
        self._stream(todo, survey, partial=attempt == 1)

    # -- pull ----------------------------------------------------------------------------------

    def _obstacle(self, todo: Sequence[Wanted], survey: Survey, wanted: Sequence[Wanted]) -> str:
        """Open server and tunnel; return why the node cannot pull, or an empty string."""
        if not all(survey.asks_us(w.ref.name) for w in todo):
            return "containerd does not ask us"
        if self._server is None:
            lock = _lock(wanted)
            server = Server(self._store, lock, self._access.token)
            self._server = self._stack.enter_context(server)
        if self._link is None:
            self._link = self._access.open(self._server.port)
            self._stack.callback(self._link.close)
        try:
            self._link.wait(self._services.clock, OPEN)
        except UnreachableError:
            return "sshd refuses the tunnel"
        return ""

    def _pull(self, todo: Sequence[Wanted], survey: Survey) -> None:
        """Pull several at a time, biggest first; images that share a missing blob in turn."""
        content = set(survey.content)
        pending = sorted(todo, key=lambda w: (-sum(w.lacking(content).values()), w.ref.name))
        total = sum(_union(todo, content).values())
        running: dict[Future[None], Wanted] = {}
        failures: list[BaseException] = []
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            while pending or running:
                interrupt.check()
                busy = {d for w in running.values() for d in w.weighty(content)}
                while len(running) < AT_ONCE and (chosen := _next(pending, busy, content)):
                    pending.remove(chosen)
                    busy |= chosen.weighty(content)
                    ref = chosen.ref
                    future = pool.submit(self._images.pull, ref.name, ref.digest, survey)
                    running[future] = chosen
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                self._tell(total)
                for future in done:
                    image = running.pop(future)
                    error = future.exception()
                    if error is None:
                        content |= set(image.blobs)
                    else:
                        failures.append(error)
        self._tell(total, Status.FAILED if failures else Status.OK)
        if failures:
            raise failures[0]

    def _tell(self, total: int, status: Status | None = None) -> None:
        sent = self._server.stats.sent if self._server is not None else self._delivery.sent
        node = self._delivery.node
        progress = ItemProgress(
            item=node,
            activity="receives",
            status=status,
            done=min(sent, total),
            total=total,
            unit="bytes",
        )
        self._services.reporter.emit(progress)

    # -- stream --------------------------------------------------------------------------------

    def _stream(self, todo: Sequence[Wanted], survey: Survey, *, partial: bool) -> None:
        content = set(survey.content) if partial else set()
        total = sum(_union(todo, content).values())
        for image in sorted(todo, key=lambda w: (-sum(w.lacking(content).values()), w.ref.name)):
            self._stream_one(image, content, survey)
            content |= set(image.blobs)
            self._tell(total)
        self._tell(total, Status.OK)

    def _stream_one(self, image: Wanted, content: set[str], survey: Survey) -> None:
        ref = image.ref
        without = frozenset(content) & image.blobs.keys()
        write = _partial_of(self._store, ref, without, self._delivery)
        try:
            self._images.load(ref.name, ref.digest, survey, write)
        except NodeError:
            if not without:
                raise
            # What containerd listed was gone by now, taken by its garbage collection.
            write = _partial_of(self._store, ref, frozenset(), self._delivery)
            self._images.load(ref.name, ref.digest, survey, write)


class _Counted:
    """Counts what goes to a node."""

    def __init__(self, sink: IO[bytes], delivery: Delivery) -> None:
        self._sink = sink
        self._delivery = delivery

    def write(self, data: bytes) -> int:
        done = self._sink.write(data)
        self._delivery.sent += len(data)
        return done


def _partial_of(
    store: Store, ref: Ref, without: frozenset[str], delivery: Delivery
) -> Callable[[IO[bytes]], None]:
    def write(sink: IO[bytes]) -> None:
        counted = cast("IO[bytes]", _Counted(sink, delivery))
        oci.write_archive(store, [ref], counted, without)

    return write


def _union(wanted: Iterable[Wanted], content: Iterable[str]) -> dict[str, int]:
    there = frozenset(content)
    return {digest: size for image in wanted for digest, size in image.lacking(there).items()}


def _next(pending: Sequence[Wanted], busy: set[str], content: set[str]) -> Wanted | None:
    """Return the first image that waits for no large blob which is on its way already."""
    return next((image for image in pending if busy.isdisjoint(image.weighty(content))), None)


def _lock(wanted: Sequence[Wanted]) -> ArtifactLock:
    return ArtifactLock(
        kubernetes_version="",
        arch=wanted[0].ref.arch,
        artifacts=tuple(
            LockedArtifact(
                kind=Kind.IMAGE,
                name=image.ref.name,
                version=image.ref.version,
                arch=image.ref.arch,
                digest=image.ref.digest,
                size=image.ref.size,
                source=image.ref.source,
            )
            for image in wanted
        ),
    )
