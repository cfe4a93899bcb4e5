"""Writing bundles: the same content gives the same bytes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube import __version__
from ohmykube.cache import manifest, oci
from ohmykube.cache.bundle import blob_copy, document, parts, read, sign, tar_layout
from ohmykube.errors import NotFoundError, ResourceError
from ohmykube.kit import digest as digests
from ohmykube.kit import files, flush_window, plain_tar, shell
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ohmykube.cache.bundle.blob_copy import Sink
    from ohmykube.cache.bundle.contents import BundleContents
    from ohmykube.cache.bundle.document import Bundle, Entry
    from ohmykube.cache.store import Ref, Store
    from ohmykube.progress import Reporter

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written; ``size`` in bytes of the whole tar."""

    paths: tuple[Path, ...]
    """The bundle; of one in parts the file of sums, then the parts."""
    size: int
    bundle: Bundle
    digest: str
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a bundle is written."""

    since: read.Archive | None = None
    """Leave out the blobs that this one has."""
    split: int = 0
    """Bytes of a part at most; 0 for one file."""
    key: Path | None = None
    """Sign with this key."""


def write(
    store: Store, content: BundleContents, target: Path, form: Form, reporter: Reporter
) -> Written:
    """Write a bundle to ``target``, which appears in one step, hashing every blob on its way.

    Args:
        store: where the blobs are.
        content: what to write.
        target: the tar; of one in parts the start of their names.
        form: whether a part, in parts, signed.
        reporter: told how many bytes are done.

    Raises:
        NotFoundError: a blob, or the key, is not there.
        IntegrityError: a blob is damaged; nothing was written.
        ResourceError: no space left.
    """
    older = set(form.since.bundle.whole) if form.since else set()
    here = [entry for entry in content.entries if entry.digest not in older]
    if not target.parent.is_dir():
        raise NotFoundError(
            f"there is no directory {target.parent}",
            hint=f"mkdir -p {shell.word(target.parent)}",
            id="OMK-I-422",
        )
    head = {
        tar_layout.LAYOUT: _LAYOUT,
        tar_layout.INDEX: _index(store, content, {entry.digest for entry in here}),
        tar_layout.REFS: document.write_refs(content.named),
    }
    bundle = _bundle(content, here, head, form.since.digest if form.since else "")
    data = document.write(bundle)
    members = {tar_layout.MANIFEST: data}
    if form.key is not None:
        members[tar_layout.SIGNATURE] = sign.sign(data, form.key)
    members |= head
    opening = b"".join(
        plain_tar.header(name, len(body)) + body + bytes(plain_tar.padding(len(body)))
        for name, body in members.items()
    )
    end = len(opening) + bundle.area
    size = end + plain_tar.ending(end)
    with (
        read.counting(reporter, target.name, "write", sum(entry.size for entry in here)) as step,
        _small_enough(target),
        _target(target, form.split, size) as (sink, paths),
    ):
        sink.write_at(0, opening)
        blob_copy.copy(store, bundle.blobs, sink, len(opening), step)
        sink.write_at(end, bytes(plain_tar.ending(end)))
    return Written(
        paths=tuple(paths),
        size=size,
        bundle=bundle,
        digest=digests.of_bytes(data),
        signed=form.key is not None,
    )


@contextlib.contextmanager
def _small_enough(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise ResourceError(
            f"{target} becomes larger than its file system allows",
            why=str(error),
            hint="run the same command with --split 3900M",
            id="OMK-I-423",
        ) from error


@contextlib.contextmanager
def _target(target: Path, split: int, size: int) -> Iterator[tuple[Sink, list[Path]]]:
    paths: list[Path] = []
    if not split:
        paths.append(target)
        with files.replacing(target, 0o644) as stream:
            yield _Undivided(stream.fileno(), size), paths
        return
    divided = parts.SplitWriter(target, split)
    try:
        yield divided, paths
    except BaseException as error:
        divided.abandon(error)
        raise
    paths += divided.finish()


class _Undivided(flush_window.WindowedWriter):
    """One file of a size that is known; what is too large is refused before it is written."""

    def __init__(self, descriptor: int, size: int) -> None:
        super().__init__(descriptor)
        self.anywhere = flush_window.is_sparse(descriptor)
        os.ftruncate(descriptor, size if self.anywhere else 0)


def _bundle(
    content: BundleContents, here: list[Entry], head: dict[str, bytes], since: str
) -> Bundle:
    inside = {entry.digest for entry in here}
    return document.Bundle(
        schema_=1,
        tool=f"ohmykube {__version__}",
        name=content.name,
        kubernetes=content.kubernetes,
        arch=content.arch,
        provider=content.provider,
        since=since,
        members={
            name: document.Item(digest=digests.of_bytes(data), size=len(data))  # type: ignore[misc]
            for name, data in head.items()
        },
        blobs=document.placed(here),
        absent=tuple(entry for entry in content.entries if entry.digest not in inside),
        components=content.components,
        lacks=content.lacks,
    )


def _index(store: Store, content: BundleContents, here: set[str]) -> bytes:
    """Return ``index.json``: images whose manifest is in the tar, and never a package.

    containerd would make an image of anything else that is listed.
    """
    entries = [
        _listed(store, ref)
        for ref in sorted(content.refs, key=lambda ref: ref.key)
        if ref.kind is Kind.IMAGE and ref.digest in here
    ]
    index = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": entries}
    return json.dumps(index, sort_keys=True, separators=(",", ":")).encode()


def _listed(store: Store, ref: Ref) -> dict[str, object]:
    found = manifest.read(store, ref.digest)
    size = store.locate(ref.digest).size
    return oci.index_entry(ref, oci.StoredBlob(found.media_type, ref.digest, size))
