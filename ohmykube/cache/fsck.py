"""Looks through the whole cache: every blob hashed again, and whether the parts agree."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.cache.reachability import MANIFESTS, Reachability
from ohmykube.errors import IntegrityError, NotFoundError
from ohmykube.kit import amounts, interrupt, parallel
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind
from ohmykube.progress import ItemProgress, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ohmykube.cache.store import Ref, Store
    from ohmykube.progress import Reporter

ITEM = "cache"


@dataclass(frozen=True, slots=True)
class Damaged:
    """A blob that is not what its name says, and the references that need it."""

    digest: str
    size: int
    refs: tuple[Ref, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What ``verify`` did; sizes in bytes."""

    blobs: int
    size: int
    seconds: float
    jobs: int
    damaged: tuple[Damaged, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be."""

    subject: str
    """What it is about: a reference, a file, a bundle."""
    detail: str
    repaired_by: str
    """The command that puts it right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What ``rebuild`` did."""

    verified: Verified
    refs_found: int
    """References made again from ``index.json``, because their list was lost."""
    refs_dropped: int
    """References whose blobs are gone or damaged."""


def verify(
    store: Store, reporter: Reporter, *, jobs: int, only: Iterable[str] | None = None
) -> Verified:
    """Hash blobs again, attached ones too; a damaged one goes to quarantine.

    Args:
        store: the cache.
        reporter: told how far it is.
        jobs: how many blobs are hashed at once.
        only: digests; all by default. Those that are not in the store are left out and not counted.

    Raises:
        Interrupted: a stop was asked for.
        PermissionDenied: this user may not read a blob, or not move a damaged one.
    """
    attached = {d for one in store.attached() if one.intact for d in one.blobs}
    there = {*store.digests(), *attached}
    wanted = there if only is None else there & set(only)
    # Before anything is moved: a manifest in quarantine leads nowhere any more.
    holders = Reachability(store).holders(store.refs())
    # The biggest first: no thread is left alone with one at the end.
    here = store.present(wanted)
    todo = sorted(((blob.size, digest) for digest, blob in here.items()), reverse=True)
    total = sum(size for size, _ in todo)
    progress = _Progress(reporter, total)
    begin = time.monotonic()

    def look(job: tuple[int, str]) -> Damaged | None:
        if interrupt.requested.is_set():
            raise interrupt.interrupted()
        size, digest = job
        try:
            store.verify(digest, progress.add)
        except NotFoundError:  # pruned meanwhile
            return None
        except IntegrityError as error:
            return Damaged(digest, size, holders.get(digest, ()), error.why or error.message)
        return None

    with progress:
        found = parallel.each(todo, look, at_most=jobs)
    damaged = tuple(one for one in found if one is not None)
    return Verified(
        blobs=len(todo),
        size=total,
        seconds=time.monotonic() - begin,
        jobs=jobs,
        damaged=damaged,
    )


class _Progress:
    """Tells the reporter how many bytes were hashed, not more often than it can be read."""

    EVERY_SECONDS = 0.2

    def __init__(self, reporter: Reporter, total: int) -> None:
        self._reporter = reporter
        self._total = total
        self._done = 0
        self._told = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._tell(None)

    def __exit__(self, kind: object, *_rest: object) -> None:
        self._tell(Status.OK if kind is None else Status.FAILED)

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._told < self.EVERY_SECONDS:
                return
            self._told = now
        self._tell(None)

    def _tell(self, status: Status | None) -> None:
        self._reporter.emit(
            ItemProgress(
                item=ITEM,
                activity="hashing",
                status=status,
                done=self._done,
                total=self._total,
                unit="bytes",
            )
        )


def check(store: Store) -> tuple[Finding, ...]:
    """Look whether references, blobs, layout and index agree; hashes nothing, changes nothing.

    Raises:
        IntegrityError: a newer ohmykube wrote the list of references.
        PermissionDenied: this user may not read the cache.
    """
    return (
        *_lists(store),
        *(finding for ref in store.refs() for finding in _ref(store, Reachability(store), ref)),
        *_strangers(store),
        *_bundles(store),
    )


def rebuild(store: Store, reporter: Reporter, *, jobs: int) -> Rebuilt:
    """Make everything anew that can be made from the blobs: index, lists, records of hashes.

    Raises: as ``verify``.
    """
    with store.using():
        found, dropped = store.rebuild()
        verified = verify(store, reporter, jobs=jobs)
        if verified.damaged:
            dropped += store.rebuild()[1]
    return Rebuilt(verified=verified, refs_found=found, refs_dropped=dropped)


_REBUILD = "ohmykube cache fsck --rebuild"


def _lists(store: Store) -> Iterable[Finding]:
    refs = store.root / "refs.json"
    blobs = store.digests()
    index = store.layout / "index.json"
    # Both lists are written with the first reference: a run stopped before leaves blobs.
    if blobs and not store.refs() and (refs.is_file() or index.is_file()):
        detail = "it cannot be read" if refs.is_file() else "it is missing"
        yield Finding(
            subject="refs.json",
            detail=f"{detail}, so {amounts.count(len(blobs), 'blob')} cannot be named",
            repaired_by=_REBUILD,
        )
    if store.trouble and (store.root / "index.db").exists():
        yield Finding(subject="index.db", detail=store.trouble, repaired_by=_REBUILD)
    if any(ref.kind is Kind.IMAGE for ref in store.refs()) and not index.is_file():
        yield Finding(
            subject="oci/index.json",
            detail="it is missing, so other tools see no image here",
            repaired_by=_REBUILD,
        )


def _ref(store: Store, reach: Reachability, ref: Ref) -> Iterable[Finding]:
    subject = f"{ref.kind} {ref.name} {ref.version} {ref.arch}"
    blob = store.present([ref.digest]).get(ref.digest)
    if blob is None:
        yield Finding(
            subject=subject, detail=f"its blob {ref.digest} is gone", repaired_by=_REBUILD
        )
        return
    size = blob.size
    if ref.kind not in MANIFESTS and size != ref.size:
        yield Finding(
            subject=subject,
            detail=f"its blob has {size} bytes instead of {ref.size}",
            repaired_by="ohmykube cache verify",
        )
    missing = sum(not store.has(digest) for digest in reach.of(ref))
    if missing:
        yield Finding(
            subject=subject,
            detail=f"{missing} of {amounts.count(len(reach.of(ref)), 'blob')} missing",
            repaired_by="ohmykube up  (fetches what a cluster needs)",
        )


def _strangers(store: Store) -> Iterable[Finding]:
    directory = store.layout / "blobs" / "sha256"
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if not (path.is_file() and digests.is_digest(f"sha256:{path.name}")):
            yield Finding(
                subject=str(path.relative_to(store.root)),
                detail="it is no blob, and nothing of ours",
                repaired_by=f"ls -ld {path}  (what is it?)",
            )


def _bundles(store: Store) -> Iterable[Finding]:
    for bundle in store.attached():
        if not bundle.intact:
            gone = "changed since it was attached" if bundle.path.exists() else "gone"
            ignored = amounts.count(len(bundle.blobs), "blob")
            yield Finding(
                subject=str(bundle.path),
                detail=f"this attached bundle is {gone}; {ignored} ignored",
                repaired_by="ohmykube cache import FILE  (attach it again)",
            )
