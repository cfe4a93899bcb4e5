"""Making a bundle part of the cache: attached where it lies, or copied."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, cast

from ohmykube.cache.bundle import parts, read, sign
from ohmykube.cache.store import Signature
from ohmykube.errors import IntegrityError, UsageError
from ohmykube.kit import digest as digests
from ohmykube.kit import interrupt, paths, shell
from ohmykube.progress import Message

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.cache.bundle.read import Archive
    from ohmykube.cache.store import Store
    from ohmykube.progress import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedBundle:
    """What was imported; sizes in bytes."""

    archive: Archive
    signer: str
    """Who signed, when allowed signers were demanded."""
    copied: int
    copied_bytes: int
    present: int
    """Blobs that the cache had already."""
    replaced: tuple[str, ...] = ()
    """Names that meant something else before an unsigned bundle gave them."""


def attach(
    store: Store, path: Path, reporter: Reporter, allowed: Path | None = None
) -> ImportedBundle:
    """Let the cache use a bundle's blobs where they lie; copies nothing.

    The first time, and when the file has changed, every blob is hashed.

    Args:
        store: the cache.
        path: a bundle in one file.
        reporter: told how many bytes are verified.
        allowed: allowed signers; None takes an unsigned bundle too.

    Raises:
        UsageError: it is in parts.
        NotFoundError, IntegrityError: as ``read.load``, ``read.verify`` and ``sign.signer``.
    """
    found, signer = open_attachable(path, allowed)
    file = paths.absolute(found.source.parts[0].path)
    places = found.places()
    known = any(
        a.path == file and a.intact and dict(a.blobs) == dict(places) for a in store.attached()
    )
    if not known:
        read.verify(found, reporter)
    with store.using():
        read.check_older_bundle(found, lambda digest: digest in places or store.has(digest))
        store.attach(file, places)
        replaced = _name(store, found, reporter, trusted=bool(signer))
    return ImportedBundle(
        archive=found,
        signer=signer,
        copied=0,
        copied_bytes=0,
        present=len(found.bundle.whole),
        replaced=replaced,
    )


def open_attachable(path: Path, allowed: Path | None = None) -> tuple[Archive, str]:
    """Return a bundle that can be used where it lies, not hashed yet, and who signed it.

    Raises:
        UsageError: it is in parts.
        NotFoundError, IntegrityError: as ``read.load`` and ``sign.signer``.
    """
    found = read.load(path)
    if found.source.divided:
        raise UsageError(
            f"{path} is in {len(found.source.parts)} parts, and only one file can be used in place",
            hint=f"ohmykube cache import {shell.word(path)}  "
            "(then `ohmykube up --offline` without --bundle)",
            id="OMK-I-430",
        )
    return found, _signer(found, allowed)


def copy(
    store: Store, path: Path, reporter: Reporter, allowed: Path | None = None
) -> ImportedBundle:
    """Copy a bundle, in one file or in parts, into the cache, hashing every blob on its way.

    Blobs that are there are skipped, so a copy that was stopped goes on where it was. References
    are set last: what was not copied whole is never used.

    Raises:
        NotFoundError, IntegrityError: as ``read.load`` and ``sign.signer``; a damaged blob.
        ResourceError: no space left.
    """
    found = read.load(path)
    signer = _signer(found, allowed)
    with store.using():
        pool = set(store.digests())
        places = found.places()
        read.check_older_bundle(found, lambda digest: digest in places or store.has(digest))
        todo = [entry for entry in found.bundle.blobs if entry.digest not in pool]
        total = sum(entry.size for entry in todo)
        with (
            parts.readable(found.label),
            read.counting(reporter, found.label, "import", total) as step,
            found.source.open() as stream,
        ):
            for entry in todo:
                interrupt.check()
                stream.seek(places[entry.digest][0])
                window = io.BufferedReader(read.Window(stream, entry.size, step), digests.PIECE)
                try:
                    store.put_stream(cast("IO[bytes]", window), expected=entry.digest)
                except IntegrityError as error:
                    raise read.damaged(found, entry) from error
        replaced = _name(store, found, reporter, trusted=bool(signer))
    return ImportedBundle(
        archive=found,
        signer=signer,
        copied=len(todo),
        copied_bytes=total,
        present=len(found.bundle.blobs) - len(todo),
        replaced=replaced,
    )


def _signer(found: Archive, allowed: Path | None) -> str:
    if allowed is None:
        return ""
    return sign.signer(found.manifest, found.signature, allowed, found.label)


def _name(store: Store, found: Archive, reporter: Reporter, *, trusted: bool) -> tuple[str, ...]:
    """Set the references; what an unsigned bundle says about signatures is hearsay.

    Returns the names that meant something else before, unless an allowed signer gave them.
    """
    there = {ref.key: ref for ref in store.refs()}
    new, replaced = [], []
    for ref in found.refs:
        before = there.get(ref.key)
        if before is not None and before.digest == ref.digest:
            continue
        new.append(ref if trusted else replace(ref, signature=Signature.UNCHECKED))
        if before is not None and not trusted:
            replaced.append(f"{ref.kind} {ref.name} {ref.version}")
            reporter.emit(
                Message(
                    text=f"{found.label}, which no allowed signer signed, replaces {replaced[-1]}: "
                    f"it was {before.digest}, now it is {ref.digest}",
                    level="warning",
                )
            )
    if new:  # a cache that can only be read serves a bundle of which it has all
        store.set_refs(new)
    return tuple(replaced)
