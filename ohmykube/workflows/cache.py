"""``cache``: what is in the artifact cache, whether it is whole, and how it is kept small."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.cache import fsck, prune, repack, signatures, unfinished_files
from ohmykube.cache.reachability import Reachability
from ohmykube.cache.store import Store
from ohmykube.errors import LockedError, NotFoundError, OhmykubeError, UsageError
from ohmykube.model.artifact import Kind
from ohmykube.progress import Message, Status, StepEnded, StepStarted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ohmykube.cache.fsck import Finding, Rebuilt, Verified
    from ohmykube.cache.prune import Policy, Pruned
    from ohmykube.cache.signatures import Report
    from ohmykube.cache.store import Lease, Ref
    from ohmykube.steps.context import Services

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One reference of the cache."""

    ref: Ref
    size: int
    """Bytes of all blobs that it needs, as far as they are here."""
    complete: bool
    """Whether all of them are here."""
    users: tuple[str, ...]
    """Clusters and running programs that need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindTotal:
    """All references of one kind."""

    kind: Kind
    refs: int
    logical: int
    """Bytes if every reference had blobs of its own."""
    unique: int
    """Bytes of its blobs, each counted once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """Sizes in bytes."""

    root: Path
    kinds: tuple[KindTotal, ...]
    blobs: int
    unique: int
    """Bytes of all blobs in the pool."""
    logical: int
    unreferenced: int
    on_disk: int
    """What the blobs take up on the disk."""
    leftovers: int
    """Unfinished files, quarantine and work directories."""
    budget: int
    counters: Mapping[str, Mapping[str, int]]
    """Day (``2026-01-31``, UTC) to metric to sum."""
    attached: Mapping[str, int]
    """Attached bundle to the number of its blobs; 0 when it is not what it was."""
    leases: tuple[Lease, ...]
    trouble: str
    """Why nothing is remembered between runs; empty when it is."""

    @property
    def ratio(self) -> float:
        """How many times larger the cache would be without sharing."""
        return self.logical / self.unique if self.unique else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What ``remove`` did; ``freed`` in bytes."""

    refs: tuple[Ref, ...]
    freed: int
    kept_back: int
    """Bytes that stay until the next prune, because another run uses the cache."""


def _store(services: Services) -> Store:
    return Store(services.paths.cache)


def roots(services: Services) -> dict[str, tuple[str, ...]]:
    """Return digest to the clusters whose records name it.

    Raises:
        OhmykubeError: a record cannot be read; what its cluster needs is not known then.
    """
    found: dict[str, list[str]] = {}
    for name in services.state.names():
        record = services.state.read(name)
        lock = record.lock if record is not None else None
        for one in (lock or {}).get("sets", ()):
            for artifact in one["artifacts"]:
                found.setdefault(artifact["digest"], []).append(name)
    return {digest: tuple(names) for digest, names in found.items()}


def artifacts(services: Services, words: Sequence[str] = ()) -> tuple[Artifact, ...]:
    """Return what is in the cache, by kind, name and version; changes nothing.

    Args:
        services: paths and reporter.
        words: only references whose kind, name or version contains one of them.

    Raises:
        IntegrityError: a newer ohmykube wrote the cache.
        PermissionDenied: this user may not read it.
    """
    store = _store(services)
    reach = Reachability(store)
    users = _users(services, store)
    found = []
    for ref in store.refs():
        text = f"{ref.kind} {ref.name} {ref.version} {ref.kind}/{ref.name}@{ref.version}"
        if words and not any(word in text for word in words):
            continue
        needed = reach.of(ref)
        here = [blob.size for blob in store.present(needed).values()]
        found.append(
            Artifact(
                ref=ref,
                size=sum(here),
                complete=len(here) == len(needed),
                users=users.get(ref.digest, ()),
            )
        )
    return tuple(found)


def _users(services: Services, store: Store) -> dict[str, tuple[str, ...]]:
    try:
        found = roots(services)
    except OhmykubeError as error:
        services.reporter.emit(Message(level="warning", text=error.message))
        found = {}
    for lease in store.leases():
        for digest in lease.digests:
            found[digest] = (*found.get(digest, ()), lease.owner)
    return found


def stats(services: Services) -> CacheStats:
    """Return sizes and counters; changes nothing. Raises as ``artifacts``."""
    store = _store(services)
    reach = Reachability(store)
    refs = store.refs()
    blobs = store.present(store.digests())
    sizes = {digest: blob.size for digest, blob in blobs.items()}
    needed = [(ref, reach.of(ref)) for ref in refs]
    kinds = []
    for kind in Kind:
        of_kind = [digests for ref, digests in needed if ref.kind is kind]
        if of_kind:
            each = set().union(*of_kind)
            kinds.append(
                KindTotal(
                    kind=kind,
                    refs=len(of_kind),
                    logical=sum(_sum(sizes, digests) for digests in of_kind),
                    unique=_sum(sizes, each),
                )
            )
    used = {digest for _, digests in needed for digest in digests}
    unreferenced = _sum(sizes, sizes.keys() - used)
    places = (store.ingest, store.quarantine, store.root / "build")
    return CacheStats(
        root=store.root,
        kinds=tuple(kinds),
        blobs=len(sizes),
        unique=sum(sizes.values()),
        logical=sum(kind.logical for kind in kinds) + unreferenced,
        unreferenced=unreferenced,
        on_disk=sum(_on_disk(blob.path) for blob in blobs.values()),
        leftovers=sum(unfinished_files.size_of(place) for place in places),
        budget=prune.budget(store),
        counters=store.counters(),
        attached={str(a.path): len(a.blobs) if a.intact else 0 for a in store.attached()},
        leases=store.leases(),
        trouble=store.trouble,
    )


def _on_disk(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:  # pruned meanwhile
        return 0


def _sum(sizes: Mapping[str, int], digests: Iterable[str]) -> int:
    return sum(sizes.get(digest, 0) for digest in digests)


def verify(services: Services, words: Sequence[str] = (), *, jobs: int | None = None) -> Verified:
    """Hash blobs again; damaged ones go to quarantine.

    Args:
        services: paths and reporter.
        words: only what these references need, written as for ``remove``; all by default.
        jobs: blobs hashed at once; one for each core by default.

    Raises:
        NotFoundError: no such reference.
        PermissionDenied: this user may not read the cache.
    """
    store = _store(services)
    only = None
    if words:
        reach = Reachability(store)
        only = {d for word in words for ref in find(store, word) for d in reach.of(ref)}
    with _step(services, "verify", "Hash the cache"):
        return fsck.verify(store, services.reporter, jobs=_jobs(jobs), only=only)


def verify_signatures(services: Services, words: Sequence[str] = ()) -> tuple[Report, ...]:
    """Judge publishers' signatures again, with the programs and keys of this host.

    Args:
        services: paths and reporter.
        words: only these, written as for ``remove``; all by default.

    Raises:
        NotFoundError: no such reference.
        IntegrityError: a signed blob is damaged; it is in quarantine now.
    """
    store = _store(services)
    only = {ref.key for word in words for ref in find(store, word)} if words else None
    verifier = signatures.Verifier(services.paths.state / signatures.KEYRINGS)
    return signatures.verify(store, verifier, only=only)


def check(services: Services) -> tuple[Finding, ...]:
    """Look whether the parts of the cache agree; changes nothing. Raises as ``artifacts``."""
    return fsck.check(_store(services))


def rebuild(services: Services, *, jobs: int | None = None) -> Rebuilt:
    """Hash everything and make the index and the lists anew; raises as ``verify``."""
    with _step(services, "rebuild", "Make the index anew"):
        return fsck.rebuild(_store(services), services.reporter, jobs=_jobs(jobs))


@contextlib.contextmanager
def _step(services: Services, name: str, title: str) -> Iterator[None]:
    begin = services.clock.now()
    services.reporter.emit(StepStarted(step=name, title=title))
    status = Status.FAILED
    try:
        yield
        status = Status.OK
    finally:
        took = services.clock.now() - begin
        services.reporter.emit(StepEnded(step=name, title=title, status=status, seconds=took))


def _jobs(jobs: int | None) -> int:
    return jobs or os.cpu_count() or 1


def prune_cache(services: Services, policy: Policy, *, dry_run: bool) -> Pruned:
    """Take out what is not needed; what a cluster's record names stays.

    Raises:
        LockedError: another run uses the cache.
        IntegrityError: a cluster's record is damaged, so what it needs is not known.
    """
    keep = roots(services)
    return prune.prune(_store(services), policy, keep=keep, dry_run=dry_run, clock=services.clock)


def find(store: Store, word: str) -> tuple[Ref, ...]:
    """Return the references that ``word`` means.

    Args:
        store: the cache.
        word: ``name``, ``name@version`` or ``name@version/arch``, each perhaps with ``kind/``
            before it, or a digest of at least 12 digits.

    Raises:
        NotFoundError: there is none; the nearest names are told.
    """
    refs = store.refs()
    form = _DIGEST.fullmatch(word)
    if form is not None:
        found = [ref for ref in refs if ref.digest.startswith(f"sha256:{form[1]}")]
    else:
        found = [ref for ref in refs if word in _spellings(ref)]
    if not found:
        near = sorted({ref.name for ref in refs if word.partition("@")[0] in ref.name})[:3]
        raise NotFoundError(
            f'nothing in the cache is called "{word}"',
            why=f"similar: {', '.join(near)}" if near else None,
            hint="ohmykube cache ls",
            id="OMK-I-305",
        )
    return tuple(found)


def _spellings(ref: Ref) -> set[str]:
    whole = f"{ref.name}@{ref.version}"
    plain = {ref.name, whole, f"{whole}/{ref.arch}"}
    return plain | {f"{ref.kind}/{text}" for text in plain}


def selected(services: Services, words: Sequence[str], *, every: bool) -> tuple[Artifact, ...]:
    """Return what ``remove`` would remove.

    Args:
        services: paths and reporter.
        words: see ``find``.
        every: a word may mean several references.

    Raises:
        NotFoundError: a word means nothing.
        UsageError: a word means several references and not ``every``.
        LockedError: a cluster or a running program needs one of them.
    """
    store = _store(services)
    keys = []
    for word in words:
        refs = find(store, word)
        if len(refs) > 1 and not every:
            raise UsageError(
                f'"{word}" means {len(refs)} artifacts',
                why="\n".join(f"{ref.kind}/{ref.name}@{ref.version}/{ref.arch}" for ref in refs),
                hint="write one of these, or add --every to remove all of them",
                id="OMK-I-306",
            )
        keys += [ref.key for ref in refs]
    found = tuple(one for one in artifacts(services) if one.ref.key in keys)
    for one in found:
        if one.users:
            raise LockedError(
                f"{one.ref.kind} {one.ref.name} {one.ref.version} is needed",
                why=f"by {', '.join(one.users)}",
                hint="remove the cluster first, or wait until the program has ended",
                id="OMK-I-307",
            )
    return found


def remove(services: Services, found: Sequence[Artifact], *, dry_run: bool = False) -> Removed:
    """Remove references and the blobs that nothing else needs.

    Raises:
        LockedError: another run kept the list of references for a minute.
        PermissionDenied: this user may not change the cache.
    """
    store = _store(services)
    named = {one.ref.key for one in found}
    others = [ref for ref in store.refs() if ref.key not in named]
    refs = (*(one.ref for one in found), *repack.orphans(others))
    reach = Reachability(store)
    suspects = {digest for ref in refs for digest in reach.of(ref)}
    keep = roots(services)
    gone = {ref.key for ref in refs}

    def doomed() -> set[str]:
        fresh = Reachability(store)
        needed = fresh.all(prune.needed(store, keep))
        needed |= {d for ref in store.refs() if ref.key not in gone for d in fresh.of(ref)}
        return (suspects - needed) & set(store.digests())

    if dry_run:
        size = sum(blob.size for blob in store.present(doomed()).values())
        return Removed(refs=refs, freed=size, kept_back=0)
    unneeded = doomed()
    store.drop_refs(refs)
    with contextlib.suppress(LockedError), store.alone():
        # Looked at again: meanwhile somebody may have come to need one.
        return Removed(refs=refs, freed=sum(map(store.discard, doomed())), kept_back=0)
    left = sum(blob.size for blob in store.present(unneeded).values())
    return Removed(refs=refs, freed=0, kept_back=left)
