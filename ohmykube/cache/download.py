"""Downloads into the store: resumed after a break, never trusted without a digest."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Protocol

from ohmykube.cache import transport
from ohmykube.cache.transport import BrokenTransfer, Transport
from ohmykube.errors import IntegrityError, NetworkError
from ohmykube.kit import digest as digests
from ohmykube.kit import files
from ohmykube.progress import ItemProgress, Message, Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from urllib3.response import BaseHTTPResponse

    from ohmykube.cache.store import Store
    from ohmykube.progress import Reporter

MAX_BYTES = 2 << 30
"""No artifact of a node is larger."""
_STEP = 1 << 20
_SUM_BYTES = 1 << 16
_SUM = re.compile(r"(?P<sum>[0-9A-Fa-f]{64})(?:\s+\*?(?:\./)?(?P<name>\S+))?")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:([0-9]{1,18})|\*)")


class Open(Protocol):
    """Opens a URL as ``Transport.open`` does; a registry adds its token."""

    def __call__(
        self, url: str, *, headers: Mapping[str, str], accept: tuple[int, ...]
    ) -> AbstractContextManager[BaseHTTPResponse]:
        """Give a response whose body is unread."""
        ...


class Downloader:
    """Brings files into the store; safe to use from several threads and processes."""

    def __init__(
        self, store: Store, reporter: Reporter, transport: Transport | None = None
    ) -> None:
        self.store = store
        self.reporter = reporter
        self.transport = transport or Transport()

    def fetch(
        self,
        url: str,
        digest: str,
        *,
        item: str = "",
        max_bytes: int = MAX_BYTES,
        opener: Open | None = None,
    ) -> Path:
        """Return the blob ``digest``, fetched from ``url`` unless the store has it.

        Several runs that want the same blob fetch it once. What a stopped run had got is kept and
        continued.

        Args:
            url: http or https.
            digest: ``sha256:<hex>`` that the file must have.
            item: name for the progress; the last part of the URL by default.
            max_bytes: more is refused.
            opener: sends the requests, instead of the transport.

        Raises:
            NetworkError: it is not available there.
            IntegrityError: what came twice does not have the digest.
            ResourceError: no space left.
        """
        came = False
        if not self.store.has(digest):
            job = _Job(self, url, digest, item or url.rpartition("/")[2], max_bytes)
            job.open = opener or self.transport.open
            with self.store.holding(digest, job.tell_waiting):
                came = not self.store.has(digest)
                if came:
                    job.run()
        path = self.store.path(digest)
        self.store.count("misses" if came else "hits")
        self.store.count("bytes_in" if came else "bytes_saved", path.stat().st_size)
        return path

    def save(self, url: str, target: Path, *, limit: int) -> None:
        """Write a file of at most ``limit`` bytes to ``target``, for the caller to judge.

        Raises:
            NetworkError: the server cannot be reached or does not have it, or it is larger.
            ResourceError: no space left.
        """
        timing = self.transport.timing
        for left in reversed(range(timing.attempts)):
            try:
                with (
                    files.explained(target),
                    self.transport.open(url) as response,
                    target.open("wb") as stream,
                ):
                    for chunk in transport.chunks(response, url):
                        stream.write(chunk)
                        if stream.tell() > limit:
                            transport.too_large(url, limit)
                return
            except BrokenTransfer:
                if not left:
                    raise
                self.transport.clock.sleep(timing.pause)

    def published_digest(self, url: str, sums: str = "") -> str:
        """Return the digest that a publisher's list of sums tells for a file; https only.

        Args:
            url: of the file.
            sums: of the list; ``<url>.sha256`` by default. It holds the sum alone, or lines as
                ``sha256sum`` writes them, of which the one with the file's name counts.

        Raises:
            NetworkError: it could not be fetched, or not over https.
        """
        if not url.startswith("https://") or sums.startswith("http://"):
            raise NetworkError(
                f"there is no digest for {transport.shown(url)}",
                why="a digest published beside the file counts only over https",
                hint="use a version that the catalog knows, or a mirror with https",
                id="OMK-I-236",
            )
        sums = sums or f"{url}.sha256"
        text = self.transport.small(sums, limit=_SUM_BYTES).decode("utf-8", "replace")
        name = url.rpartition("/")[2]
        for line in text.splitlines():
            found = _SUM.fullmatch(line.strip())
            if found is not None and found["name"] in (None, name):
                return f"sha256:{found['sum'].lower()}"
        raise NetworkError(
            f"{transport.shown(sums)} has no digest of {name}",
            why=f"it begins with {text[:40]!r}",
            hint=transport.hint(sums),
            id="OMK-I-236",
        )


class _Job:
    """One file on its way: ``ingest/<hex>.part`` and, beside it, what is known of its origin."""

    open: Open

    def __init__(self, owner: Downloader, url: str, digest: str, item: str, max_bytes: int) -> None:
        self.owner = owner
        self.url = url
        self.digest = digest
        self.item = item
        self.max_bytes = max_bytes
        self.part = owner.store.partial(digest)
        self.note = self.part.with_suffix(".json")
        self.encoding = "identity"

    def run(self) -> None:
        try:
            self._whole()
        except BaseException:
            self._report(None, None, Status.FAILED)
            raise
        self._report(None, None, Status.OK)

    def tell_waiting(self, holder: str) -> None:
        text = f"{self.item}: waiting for {holder}"
        self.owner.reporter.emit(Message(text=text))

    def _whole(self) -> None:
        if self._resumable() is None or self.part.is_symlink():
            self._restart()
        for last in (False, True):
            self._transfer()
            try:
                self.owner.store.adopt(self.part, expected=self.digest)
            except IntegrityError as error:
                # Once more from the start: perhaps the parts did not belong together.
                self._restart()
                if last:
                    raise IntegrityError(
                        f"{transport.shown(self.url)} is not the file it should be",
                        why=f"{error.why}{self._encoded()}",
                        hint="run the same command again; if it stays, ask another source",
                        id="OMK-I-237",
                    ) from error
            else:
                self._restart()
                return

    def _transfer(self) -> None:
        """Get the rest of the file, however often the connection breaks while bytes come."""
        failures = 0
        while True:
            before = self._size()
            try:
                self._one_request(before)
            except BrokenTransfer:
                failures = 1 if self._size() > before else failures + 1
                if failures >= self.owner.transport.timing.attempts:
                    raise
                timing = self.owner.transport.timing
                self.owner.transport.clock.sleep(timing.pause * 2 ** (failures - 1))
            else:
                return

    def _one_request(self, offset: int) -> None:
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if tag := self._resumable():
                headers["If-Range"] = tag
        with self.open(self.url, headers=headers, accept=(206, 416)) as response:
            if response.status == 416:
                if not offset or digests.of_file(self.part) != self.digest:
                    raise self._other_part("is shorter than what is here of it")
                return
            whole = None
            if response.status == 206:
                whole = self._whole_size(response.headers.get("Content-Range", ""), offset)
            else:
                self._restart()
                offset = 0
            self.encoding = transport.encoding(response)
            self._remember(response.headers.get("ETag", ""))
            self._save(response, offset)
        if whole is not None and self._size() < whole:
            raise BrokenTransfer(
                f"{transport.shown(self.url)} came in part only",
                why=f"{self._size()} of {whole} bytes",
                hint=transport.hint(self.url),
            )

    def _whole_size(self, text: str, offset: int) -> int | None:
        """Return the size of the whole file that a ``Content-Range`` tells, if it does.

        Raises:
            BrokenTransfer: the part does not begin where ours ends, or cannot be.
        """
        found = _CONTENT_RANGE.fullmatch(text.strip())
        if found is not None:
            first, last, whole = int(found[1]), int(found[2]), int(found[3] or 0)
            if first == offset and first <= last and (not found[3] or last < whole):
                return whole if found[3] else None
        raise self._other_part("gave another part than was asked for")

    def _other_part(self, what: str) -> BrokenTransfer:
        """Forget what is here of the file, and return the error that leads to another attempt."""
        self._restart()
        return BrokenTransfer(f"{transport.shown(self.url)} {what}", hint=transport.hint(self.url))

    def _encoded(self) -> str:
        if self.encoding == "identity":
            return ""
        return f"\nit was sent with Content-Encoding: {self.encoding}, which was not asked for"

    def _save(self, response: BaseHTTPResponse, offset: int) -> None:
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdecimal() else None
        if total is not None and total > self.max_bytes:
            transport.too_large(self.url, self.max_bytes)
        done = told = offset
        with files.explained(self.part), files.appending(self.part) as stream:
            for chunk in transport.chunks(response, self.url):
                done += len(chunk)
                if done > self.max_bytes:
                    transport.too_large(self.url, self.max_bytes)
                stream.write(chunk)
                if done - told >= _STEP:
                    told = done
                    self._report(done, total, None)
        self._report(done, total, None)

    def _report(self, done: int | None, total: int | None, status: Status | None) -> None:
        self.owner.reporter.emit(
            ItemProgress(
                item=self.item,
                activity="downloading",
                status=status,
                done=done,
                total=total,
                unit="bytes",
            )
        )

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _resumable(self) -> str | None:
        """Return the strong ETag of the part, empty if the server gave none, None: not ours."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(self.note.read_bytes())
            if note["url"] == self.url and isinstance(note["etag"], str):
                return "" if note["etag"].startswith("W/") else str(note["etag"])
        return None

    def _remember(self, tag: str) -> None:
        files.write(self.note, json.dumps({"url": self.url, "etag": tag}))

    def _restart(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
