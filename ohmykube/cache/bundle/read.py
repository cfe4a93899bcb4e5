"""Reading bundles that may be truncated, damaged or hostile.

Everything is refused that ``archive`` would not have written. Nothing is unpacked: a blob is a
range of bytes whose digest is known.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from ohmykube.cache import manifest
from ohmykube.cache.bundle import document, parts, tar_layout
from ohmykube.errors import IntegrityError, NotFoundError
from ohmykube.kit import digest as digests
from ohmykube.kit import interrupt, plain_tar
from ohmykube.model.artifact import Kind
from ohmykube.progress import ItemProgress, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from ohmykube.cache.bundle.document import Bundle, Entry
    from ohmykube.cache.bundle.parts import BundleFile
    from ohmykube.cache.store import Ref
    from ohmykube.progress import Reporter

CHUNK = 1 << 20
_SIGNATURE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Archive:
    """A bundle whose frame was checked; the blobs were not hashed."""

    source: BundleFile
    bundle: Bundle
    manifest: bytes
    """``bundle.json`` as it is."""
    signature: bytes | None
    refs: tuple[Ref, ...]
    index: bytes
    start: int
    """Position of the first blob's header."""

    @property
    def label(self) -> str:
        """The path to name in messages."""
        return self.source.label

    @property
    def digest(self) -> str:
        """Digest of ``bundle.json``, which stands for the whole content."""
        return digests.of_bytes(self.manifest)

    def places(self) -> Mapping[str, tuple[int, int]]:
        """Return digest to position and size in bytes of each blob in the tar."""
        return {b.digest: (self.start + b.offset, b.size) for b in self.bundle.blobs}


def load(path: Path) -> Archive:
    """Read the head of a bundle and check its frame; blobs are not hashed.

    Raises:
        NotFoundError: no such bundle, or a part is missing.
        IntegrityError: it is truncated, has something it should not have, or contradicts itself.
    """
    source = parts.find(path)
    with parts.readable(source.label), source.open() as stream:
        head = _Head(stream, source)
        data = head.first()
        bundle = document.read(data, source.label)
        signature = head.signature()
        found = {name: head.member(name, bundle) for name in tar_layout.HEAD}
        made = Archive(
            source=source,
            bundle=bundle,
            manifest=data,
            signature=signature,
            refs=document.read_refs(found[tar_layout.REFS], source.label),
            index=found[tar_layout.INDEX],
            start=stream.tell(),
        )
        _check_frame(made, stream)
    _check_meaning(made)
    return made


class _Head:
    """The members before the blobs, in their order."""

    def __init__(self, stream: IO[bytes], source: BundleFile) -> None:
        self._stream = stream
        self._label = source.label
        self._block = b""

    def _bad(self, why: str) -> IntegrityError:
        return document.bad(self._label, why)

    def _exactly(self, size: int) -> bytes:
        data = read(self._stream, size)
        if len(data) != size:
            raise self._bad("it is truncated")
        return data

    def _content(self, size: int) -> bytes:
        data = self._exactly(size)
        if self._exactly(plain_tar.padding(size)).strip(b"\0"):
            raise self._bad("there is something between its members")
        return data

    def first(self) -> bytes:
        found = plain_tar.named(self._exactly(plain_tar.BLOCK))
        if found is None or found[0] != tar_layout.MANIFEST:
            raise self._bad(f"it does not begin with {tar_layout.MANIFEST} as bundles do")
        if found[1] > document.MAX_BYTES:
            raise self._bad(f"{tar_layout.MANIFEST} has {found[1]} bytes")
        return self._content(found[1])

    def signature(self) -> bytes | None:
        self._block = self._exactly(plain_tar.BLOCK)
        found = plain_tar.named(self._block)
        if found is None or found[0] != tar_layout.SIGNATURE:
            return None
        if found[1] > _SIGNATURE_BYTES:
            raise self._bad(f"{tar_layout.SIGNATURE} has {found[1]} bytes")
        data = self._content(found[1])
        self._block = b""
        return data

    def member(self, name: str, bundle: Bundle) -> bytes:
        item = bundle.members[name]  # type: ignore[index] # the names of HEAD
        if item.size > document.MAX_BYTES:
            raise self._bad(f"{name} has {item.size} bytes")
        block = self._block or self._exactly(plain_tar.BLOCK)
        self._block = b""
        if block != plain_tar.header(name, item.size):
            raise self._bad(f"{name} is not where it should be, or not as it should be")
        data = self._content(item.size)
        if digests.of_bytes(data) != item.digest:
            raise self._bad(f"{name} does not have the digest that {tar_layout.MANIFEST} says")
        return data


def _check_frame(found: Archive, stream: IO[bytes]) -> None:
    """Look at every header, at the padding and at the end."""
    label, size = found.label, found.source.size
    end = found.start + found.bundle.area
    whole = end + plain_tar.ending(end)
    if size != whole:
        problem = "it is truncated" if size < whole else "something follows its end"
        raise document.bad(label, f"{problem}: {size} bytes instead of {whole}")
    for entry in found.bundle.blobs:
        position = found.start + entry.offset
        stream.seek(position - plain_tar.BLOCK)
        if read(stream, plain_tar.BLOCK) != plain_tar.header(
            tar_layout.blob_name(entry.digest), entry.size
        ):
            raise document.bad(
                label,
                f"another member lies where {entry.digest} should be "
                f"({found.source.holding(position - plain_tar.BLOCK, plain_tar.BLOCK)})",
            )
        stream.seek(position + entry.size)
        if read(stream, plain_tar.padding(entry.size)).strip(b"\0"):
            raise document.bad(label, f"there is something behind {entry.digest}")
    stream.seek(end)
    if read(stream, plain_tar.ending(end)).strip(b"\0"):
        raise document.bad(label, "something follows its end")


def _check_meaning(found: Archive) -> None:
    """Compare the three documents with each other."""
    whole, label = found.bundle.whole, found.label
    for ref in found.refs:
        if ref.digest not in whole or (ref.index and ref.index not in whole):
            raise document.bad(label, f"{tar_layout.REFS}: {ref.name} leads to no blob of it")
    if len({ref.key for ref in found.refs}) != len(found.refs):
        raise document.bad(label, f"{tar_layout.REFS}: something is named twice")
    images = {ref.name: ref.digest for ref in found.refs if ref.kind is Kind.IMAGE}
    here = {entry.digest for entry in found.bundle.blobs}
    try:
        entries = json.loads(found.index)["manifests"]
        listed = {
            e["annotations"]["org.opencontainers.image.ref.name"]: e["digest"] for e in entries
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise document.bad(label, f"{tar_layout.INDEX}: {type(error).__name__}: {error}") from error
    if listed != {name: digest for name, digest in images.items() if digest in here}:
        raise document.bad(
            label, f"{tar_layout.INDEX} does not list the images of {tar_layout.REFS}"
        )


def verify(found: Archive, reporter: Reporter) -> int:
    """Hash every part and every blob; return the bytes of all blobs.

    Raises:
        IntegrityError: names what is damaged, or an image with a missing blob.
        Interrupted: a stop was asked for.
    """
    total = sum(entry.size for entry in found.bundle.blobs)
    with (
        parts.readable(found.label),
        counting(reporter, found.label, "verify", total) as step,
        found.source.open() as stream,
    ):
        parts.check(found.source)
        for entry, (position, size) in zip(
            found.bundle.blobs, found.places().values(), strict=True
        ):
            stream.seek(position)
            if hash_next(stream, size, step) != entry.digest:
                raise damaged(found, entry)
        _check_images(found, stream)
    return total


def _check_images(found: Archive, stream: IO[bytes]) -> None:
    """Look whether all that the manifests name is in the bundle, or in the older one."""
    whole, places = found.bundle.whole, found.places()
    for entry in found.bundle.blobs:
        if entry.kind != "manifest":
            continue
        position, size = places[entry.digest]
        if size > manifest.MAX_BYTES:
            raise document.bad(found.label, f"the manifest {entry.digest} has {size} bytes")
        stream.seek(position)
        image = manifest.parse(read(stream, size), entry.digest)
        if isinstance(image, manifest.Manifest):
            for blob in image.blobs:
                if blob.digest not in whole:
                    raise document.bad(
                        found.label, f"the blob {blob.digest} of an image is missing"
                    )


def damaged(found: Archive, entry: Entry) -> IntegrityError:
    """Return the error for a blob that does not have its digest."""
    place = found.places()[entry.digest]
    names = sorted({c.name for c in found.bundle.components if c.digest == entry.digest})
    files = found.source.holding(*place)
    return IntegrityError(
        f"{', '.join(names) or 'a blob'} is damaged in {files}",
        why=f"{entry.digest} ({entry.kind}, {entry.size} bytes) has another digest there",
        hint=f"copy {files} again, then: {document.verifying(found.label)}",
        id="OMK-I-406",
    )


def check_older_bundle(found: Archive, has: Callable[[str], bool]) -> None:
    """Check that all blobs are here that the bundle leaves to an older one.

    Raises:
        NotFoundError: names what is missing.
    """
    missing = [entry for entry in found.bundle.absent if not has(entry.digest)]
    if not missing:
        return
    digests_ = {entry.digest for entry in missing}
    names = sorted({f"{r.kind} {r.name} {r.version}" for r in found.refs if r.digest in digests_})
    rest = len(missing) - len({r.digest for r in found.refs} & digests_)
    listed = [*names, f"{rest} layers or configs of images"] if rest else names
    raise NotFoundError(
        f"{found.label} needs blobs that only an older bundle has",
        why="missing: " + ", ".join(listed),
        hint=f"ohmykube cache import OLD.omk.tar  (whose bundle.json is {found.bundle.since})",
        id="OMK-I-407",
    )


# -- streams -------------------------------------------------------------------------------------


def read(stream: IO[bytes], size: int) -> bytes:
    """Return up to ``size`` bytes, fewer only at the end; reads of parts are short."""
    pieces = []
    while size and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


class Window(io.RawIOBase):
    """The next ``size`` bytes of a stream that has a position of its own."""

    def __init__(self, stream: IO[bytes], size: int, step: Callable[[int], None]) -> None:
        self._stream = stream
        self._left = size
        self._step = step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        interrupt.check()
        count = cast("io.RawIOBase", self._stream).readinto(memoryview(buffer)[: self._left]) or 0
        self._left -= count
        self._step(count)
        return count


def hash_next(stream: IO[bytes], size: int, step: Callable[[int], None]) -> str:
    """Return the digest of the next ``size`` bytes."""
    state, buffer = hashlib.sha256(), bytearray(digests.PIECE)
    view, window = memoryview(buffer), Window(stream, size, step)
    while count := window.readinto(view):
        state.update(view[:count])
    return "sha256:" + state.hexdigest()


@contextlib.contextmanager
def counting(
    reporter: Reporter, item: str, activity: str, total: int
) -> Iterator[Callable[[int], None]]:
    """Report bytes; gives what any thread is to call with each number of bytes done."""
    done = said = 0
    lock = threading.Lock()

    def emit(status: Status | None = None) -> None:
        reporter.emit(
            ItemProgress(
                item=item, activity=activity, status=status, done=done, total=total, unit="bytes"
            )
        )

    def step(count: int) -> None:
        nonlocal done, said
        with lock:
            done += count
            if done - said < max(total // 100, 8 * CHUNK):
                return
            said = done
        emit()

    emit()
    try:
        yield step
    except BaseException:
        emit(Status.FAILED)
        raise
    emit(Status.OK)
