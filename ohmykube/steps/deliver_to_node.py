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
    NodeError,
    NotFoundError,
    OhmykubeError,
    UnreachableError,
)
from ohmykube.kit import failures, interrupt, retry
from ohmykube.progress import ItemProgress, Status
from ohmykube.steps.wanted_images import lock_of, union

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ohmykube.cache.store import Ref, Store
    from ohmykube.steps.context import Services
    from ohmykube.steps.node_images import NodeImages, Survey
    from ohmykube.steps.wanted_images import Form, Wanted

AT_ONCE = 3
"""Images that one node pulls at a time."""
ATTEMPTS = 3
OPEN = retry.Wait(seconds=2, every=0.05, factor=1.5, longest=0.5)
PULLED, STREAMED, NOTHING = "pull", "stream", "none"


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


class Forward(Protocol):
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
    open: Callable[[int], Forward]
    """Begins to open a way to a port of this host's loopback."""


class _Pull(NamedTuple):
    """An image and the form in which its layers come."""

    image: Wanted
    form: Form

    def to_fetch(self, there: frozenset[str]) -> dict[str, int]:
        return {**self.form.lacking(there), **self.image.own(there)}

    def weight(self, there: frozenset[str]) -> int:
        return sum(self.form.lacking(there).values())


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
        self._forward: Forward | None = None
        self._total = 0
        self._survey: Survey | None = None
        self._has_all = False

    def __enter__(self) -> NodeDelivery:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self._server is not None:
            self._delivery.sent += self._server.stats.sent
        self._delivery.skipped = max(0, self._total - self._delivery.sent)

    def look(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """Return those that the node has not, or not whole."""
        self._has_all = self._are_there(wanted)
        if self._has_all:
            return []
        self._survey = self._look(wanted)
        return self._missing(wanted, self._survey)

    def _missing(self, wanted: Sequence[Wanted], survey: Survey) -> list[Wanted]:
        return [w for w in wanted if not survey.has(w.ref.name, w.ref.digest)]

    def bring(self, wanted: Sequence[Wanted]) -> None:
        """Bring what is missing, by what ``look`` has seen if that came before.

        Raises:
            NodeError: an image is not there or not whole after several attempts.
            IntegrityError: a blob of the store is damaged; it was not sent.
        """
        last: OhmykubeError | None = None
        self._total = sum(union(w.form.blobs for w in wanted).values())
        if self._has_all:
            return
        survey = self._survey or self._look(wanted)
        for attempt in range(1, ATTEMPTS + 1):
            todo = self._missing(wanted, survey)
            if not todo:
                return
            self._delivery.delivered = list(
                dict.fromkeys([*self._delivery.delivered, *(w.ref.name for w in todo)])
            )
            try:
                self._attempt(todo, survey, attempt, wanted)
                # Enough to see that all went well; what is wrong needs the whole picture.
                if self._are_there(todo):
                    return
            except OhmykubeError as error:
                self._give_up_on(error)
                last = error
            survey = self._look(wanted)
        todo = self._missing(wanted, survey)
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

    def _look(self, wanted: Sequence[Wanted]) -> Survey:
        return self._images.survey(self._access.token, [w.ref.name for w in wanted])

    def _are_there(self, wanted: Sequence[Wanted]) -> bool:
        """Tell, by a short look, whether all is there for certain."""
        held = self._images.held({w.ref.name: w.ref.digest for w in wanted})
        return all(w.ref.name in held.names and w.form.is_whole(held.there) for w in wanted)

    def _attempt(
        self, todo: Sequence[Wanted], survey: Survey, attempt: int, wanted: Sequence[Wanted]
    ) -> None:
        why = "pulling failed" if attempt == ATTEMPTS else self._obstacle(todo, survey, wanted)
        if not why:
            self._delivery.way = PULLED
            there = survey.content | survey.unpacked
            # What is cheaper is tried first; what is plain must do when it did not.
            pulls = [_Pull(w, w.cheapest(there) if attempt == 1 else w.form) for w in todo]
            self._pull(pulls, survey)
            return
        self._delivery.way, self._delivery.why = STREAMED, why
        self._stream(todo, survey, partial=attempt == 1)

    # -- pull ----------------------------------------------------------------------------------

    def _obstacle(self, todo: Sequence[Wanted], survey: Survey, wanted: Sequence[Wanted]) -> str:
        """Open server and tunnel; return why the node cannot pull, or an empty string."""
        if not all(survey.asks_us(w.ref.name) for w in todo):
            return "containerd does not ask us"
        if self._server is None:
            server = Server(self._store, lock_of(wanted), self._access.token)
            self._server = self._stack.enter_context(server)
        if self._forward is None:
            self._forward = self._access.open(self._server.port)
            self._stack.callback(self._forward.close)
        try:
            self._forward.wait(self._services.clock, OPEN)
        except UnreachableError:
            return "sshd refuses the tunnel"
        return ""

    def _pull(self, pulls: Sequence[_Pull], survey: Survey) -> None:
        """Pull several at a time, biggest first; images that share a missing blob in turn."""
        there = survey.content | survey.unpacked
        pending = sorted(pulls, key=lambda one: (-one.weight(there), one.image.ref.name))
        total = sum(union(one.to_fetch(there) for one in pulls).values())
        running: dict[Future[None], _Pull] = {}
        failed: list[BaseException] = []
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            while pending or running:
                interrupt.check()
                busy = {d for one in running.values() for d in one.form.weighty(there)}
                while len(running) < AT_ONCE and (chosen := _next(pending, busy, there)):
                    pending.remove(chosen)
                    busy |= chosen.form.weighty(there)
                    running[pool.submit(self._one, chosen, survey)] = chosen
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                self._tell(total)
                for future in done:
                    pulled = running.pop(future)
                    error = future.exception()
                    if error is None:
                        there |= pulled.form.blobs.keys()
                    else:
                        failed.append(error)
        self._tell(total, Status.FAILED if failed else Status.OK)
        if failed:
            raise failures.first(failed)

    def _one(self, pull: _Pull, survey: Survey) -> None:
        ref = pull.image.ref
        by = "" if pull.form.digest == ref.digest else pull.form.digest
        self._images.pull(ref.name, ref.digest, survey, by)

    def _tell(self, total: int, status: Status | None = None) -> None:
        sent = self._server.stats.sent if self._server is not None else self._delivery.sent
        node = self._delivery.node
        progress = ItemProgress(
            item=node,
            activity="receives",
            status=status,
            # The last bytes are counted a moment after the node has them.
            done=total if status is Status.OK else min(sent, total),
            total=total,
            unit="bytes",
        )
        self._services.reporter.emit(progress)

    # -- stream --------------------------------------------------------------------------------

    def _stream(self, todo: Sequence[Wanted], survey: Survey, *, partial: bool) -> None:
        there = survey.content | survey.unpacked if partial else frozenset()
        total = sum(union(w.form.lacking(there) for w in todo).values())

        def rank(image: Wanted) -> tuple[int, str]:
            return (-sum(image.form.lacking(there).values()), image.ref.name)

        for image in sorted(todo, key=rank):
            self._stream_one(image, there, survey)
            there |= image.form.blobs.keys()
            self._tell(total)
        self._tell(total, Status.OK)

    def _stream_one(self, image: Wanted, there: frozenset[str], survey: Survey) -> None:
        ref = image.ref
        without = image.form.blobs.keys() - image.form.lacking(there).keys()
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
    store: Store, ref: Ref, without: Collection[str], delivery: Delivery
) -> Callable[[IO[bytes]], None]:
    def write(sink: IO[bytes]) -> None:
        counted = cast("IO[bytes]", _Counted(sink, delivery))
        oci.write_archive(store, [ref], counted, without)

    return write


def _next(pending: Sequence[_Pull], busy: set[str], there: frozenset[str]) -> _Pull | None:
    """Return the first image that waits for no large blob which is on its way already."""
    return next((one for one in pending if busy.isdisjoint(one.form.weighty(there))), None)
