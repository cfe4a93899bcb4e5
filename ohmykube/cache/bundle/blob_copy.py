"""Copying blobs into a tar: each is read once, hashed and written; a damaged one stops the copy.

Every blob's place is known before the first one is read, so several are copied at once, and while
a slot of bytes is written the next one is read and hashed. The bytes that are hashed are those
that are written: both are done from one buffer, so neither a file that changes meanwhile nor a
page of memory that is read again can make them differ.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from ohmykube.cache.blobs import Reader
from ohmykube.cache.bundle import tar_layout
from ohmykube.errors import IntegrityError
from ohmykube.kit import interrupt, plain_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor, Future

    from ohmykube.cache.bundle.document import Placed
    from ohmykube.cache.store import Store

_SLOT = 1 << 20
_MOST = 4
"""Blobs copied at once: two slots each, and more than any disk takes."""


class Sink(Protocol):
    """Where a tar goes; every byte is written once."""

    anywhere: bool
    """Whether it may be written in any order and by several threads; else from start to end."""

    def write_at(self, position: int, data: bytes | memoryview, /) -> None:
        """Write all of ``data``."""
        ...


def copy(
    store: Store,
    entries: Iterable[Placed],
    sink: Sink,
    start: int,
    step: Callable[[int], None],
) -> None:
    """Write the members of all blobs, each hashed on its way.

    Args:
        store: where the blobs are.
        entries: what to write, with its offset.
        sink: the tar.
        start: position in the tar that offsets count from.
        step: called from several threads with numbers of bytes done.

    Raises:
        IntegrityError: a blob is damaged. Some of it was written.
        NotFoundError: a blob is gone.
        Interrupted: a stop was asked for.
        OSError: it cannot be written.
    """
    # The biggest first: no thread is left alone with one at the end.
    todo = sorted(entries, key=lambda entry: entry.size, reverse=True) if sink.anywhere else entries
    threads = min(os.cpu_count() or 1, _MOST) if sink.anywhere else 1
    with (
        ThreadPoolExecutor(threads, "write") as writers,  # one alone writes in order
        ThreadPoolExecutor(threads, "read") as readers,
    ):
        shared = _Shared(todo)
        done = [
            readers.submit(_Copier(store, sink, start, step, writers).all, shared)
            for _ in range(threads)
        ]
        try:
            for one in done:
                one.result()
        except BaseException:
            shared.stop()  # the others need not finish what is thrown away
            raise


class _Shared:
    """What is left to do, for several threads."""

    def __init__(self, entries: Iterable[Placed]) -> None:
        self._entries = iter(entries)
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def __iter__(self) -> Iterator[Placed]:
        while (entry := self._next()) is not None:
            yield entry

    def _next(self) -> Placed | None:
        with self._lock:
            return None if self._stopped else next(self._entries, None)

    @property
    def stopped(self) -> bool:
        return self._stopped


class _Slot:
    """A buffer, and the writing of what is in it."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_SLOT))
        self._writing: Future[None] | None = None

    def free(self, size: int) -> memoryview:
        """Return that much of it, once what it held was written; raises as the writing did."""
        self.wait()
        return self._buffer[:size]

    def write(self, thread: Executor, sink: Sink, position: int, data: memoryview) -> None:
        self._writing = thread.submit(sink.write_at, position, data)

    def wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()


class _Copier:
    """Copies one blob after another, with two slots: one is filled while the other is written."""

    def __init__(
        self,
        store: Store,
        sink: Sink,
        start: int,
        step: Callable[[int], None],
        writers: Executor,
    ) -> None:
        self._store = store
        self._sink = sink
        self._start = start
        self._step = step
        self._writers = writers
        self._slots = [_Slot(), _Slot()]

    def all(self, todo: _Shared) -> None:
        try:
            for entry in todo:
                self._one(entry, todo)
            for slot in self._slots:
                slot.wait()
        except BaseException:
            todo.stop()
            raise

    def _one(self, entry: Placed, todo: _Shared) -> None:
        position = self._start + entry.offset - plain_tar.BLOCK
        end = position + plain_tar.room(entry.size)
        head = plain_tar.header(tar_layout.blob_name(entry.digest), entry.size)
        with Reader(self._store.locate(entry.digest)) as reader:
            while position < end and not todo.stopped:
                interrupt.check()
                self._slots.reverse()
                # Up to the next multiple, so that all other writes begin and end at pages.
                view = self._slots[0].free(min(_SLOT - position % _SLOT, end - position))
                view[: len(head)] = head
                count = reader.readinto(view[len(head) :])
                used = len(head) + count
                view[used:] = bytes(len(view) - used)  # the padding
                self._slots[0].write(self._writers, self._sink, position, view)
                self._step(count)
                position += len(view)
                head = b""
        if not todo.stopped and reader.digest != entry.digest:
            self._store.verify(entry.digest)
            raise IntegrityError(
                f"{entry.digest} changed while it was read",
                hint="run the same command again",
                id="OMK-I-421",
            )
