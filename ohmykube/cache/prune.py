"""Takes out of the cache what is not needed, in the order in which it is missed least.

Work directories of builds and abandoned files go first, then what nothing refers to. Only then,
and only when the cache is larger than its budget, go references: what can be made again from other
blobs, then everything else by its last use. What a cluster's record, a pin or a running
program's lease names stays with all that it leads to.
"""

from __future__ import annotations

import contextlib
import enum
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.cache import releases, repack, unfinished_files
from ohmykube.cache.catalog import GoRecipe
from ohmykube.cache.reachability import Reachability
from ohmykube.errors import ConfigError, NotFoundError
from ohmykube.kit import files
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ohmykube.cache.store import Ref, Store
    from ohmykube.kit.retry import Clock

GRACE_SECONDS = 3600.0
"""Younger blobs stay: a run that has died may be repeated soon."""
QUARANTINE_SECONDS = 7 * 24 * 3600.0
BUDGET_BYTES = 20 << 30
BUDGET_SHARE = 0.2
"""Of the free space, when that is less than ``BUDGET_BYTES``."""
WAIT_SECONDS = 10.0


INTERMEDIATE = frozenset({Kind.BINARY, Kind.REPACKED})
"""Binaries that packages and images were made of, and layers packed anew."""


class Class(enum.StrEnum):
    """What sort of thing is taken out, in order."""

    WORK = "work"
    """Directories in which something was built."""
    PARTIAL = "partial"
    """Downloads and writes that were never finished."""
    QUARANTINE = "quarantine"
    UNREFERENCED = "unreferenced"
    INTERMEDIATE = "intermediate"
    """What can be made again from other blobs: see ``INTERMEDIATE`` below."""
    UNUSED = "unused"
    """Packages, images and files that no cluster needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is to go beyond leftovers; sizes in bytes, times in seconds."""

    everything: bool = False
    """All that no cluster, pin or lease needs, whatever the budget."""
    max_bytes: int | None = None
    """The budget; None takes the smaller of 20 GiB and 20 % of the free space."""
    older_than: float | None = None
    """References that were not used for so long go, whatever the budget."""
    keep_k8s: int | None = None
    """References that belong only to Kubernetes releases older than the newest N go."""
    grace: float = GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class Freed:
    """One class of what goes; ``size`` in bytes."""

    kind: Class
    items: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What went, or would go."""

    classes: tuple[Freed, ...]
    """One entry for each class, in order, empty ones too."""
    refs: tuple[Ref, ...]
    """References that were dropped."""
    kept_bytes: int
    budget: int
    young_bytes: int
    """Unneeded, but younger than the grace; a later run takes them."""

    @property
    def freed(self) -> int:
        """All bytes together."""
        return sum(one.size for one in self.classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    refs: tuple[Ref, ...]
    blobs: dict[str, tuple[Class, int]]
    paths: dict[Class, list[Path]]
    pruned: Pruned


def budget(store: Store) -> int:
    """Return how many bytes the cache may have by default."""
    place = next(p for p in (store.root, *store.root.parents) if p.exists())
    return min(BUDGET_BYTES, int(shutil.disk_usage(place).free * BUDGET_SHARE))


def prune(
    store: Store,
    policy: Policy | None = None,
    *,
    keep: Iterable[str] = (),
    dry_run: bool = False,
    clock: Clock | None = None,
) -> Pruned:
    """Take out of the cache what is not needed; see the module.

    Args:
        store: the cache.
        policy: what is to go; leftovers and what is beyond the budget by default.
        keep: digests that stay with all that they lead to, such as those of clusters' records.
        dry_run: only look; needs no exclusive lock.
        clock: for the wait until the cache is not in use.

    Raises:
        LockedError: another run uses the cache.
        PermissionDenied: this user may not remove something.
    """
    policy = policy or Policy()
    kept = frozenset(keep)
    reach = Reachability(store)
    if dry_run:
        return _plan(store, reach, policy, kept).pruned
    with store.using():  # the slow part, reading manifests, blocks no other run
        _plan(store, reach, policy, kept)
    with store.alone(WAIT_SECONDS, clock):
        plan = _plan(store, reach, policy, kept)
        # The references first: a crash leaves blobs without them, never the other way round.
        if plan.refs:
            store.drop_refs(plan.refs)
        for digest in plan.blobs:
            store.discard(digest)
        for paths in plan.paths.values():
            for path in paths:
                unfinished_files.remove(path)
        return plan.pruned


def needed(store: Store, keep: Iterable[str]) -> frozenset[str]:
    """Return the digests that must stay: of ``keep``, of pins and of living leases."""
    pinned = {ref.digest for ref in store.refs() if ref.pinned}
    leased = {digest for lease in store.leases() for digest in lease.digests}
    return frozenset(keep) | pinned | leased


def _plan(store: Store, reach: Reachability, policy: Policy, keep: frozenset[str]) -> _Plan:
    refs = store.refs()
    roots = needed(store, keep)
    sizes = {digest: blob.size for digest, blob in store.present(store.digests()).items()}
    rooted = reach.all(roots)
    everybody = reach.holders(refs)
    candidates = [ref for ref in refs if ref.digest not in roots]
    limit = policy.max_bytes if policy.max_bytes is not None else budget(store)
    shrink = _Shrink(reach, sizes, refs, rooted)
    shrink.drop(_outdated(store, candidates, policy))
    shrink.drop(repack.orphans(ref for ref in refs if ref.key not in shrink.dropped))
    for ref in _by_value(store, candidates):
        if shrink.total <= limit:
            break
        shrink.drop((ref,))
    doomed: dict[str, tuple[Class, int]] = {}
    young = 0
    for digest, size in sizes.items():
        if shrink.is_needed(digest):
            continue
        if _age(store, digest) < policy.grace:
            young += size
        else:
            doomed[digest] = (_class(everybody.get(digest, ())), size)
    paths = _leftovers(store, policy)
    classes = tuple(_freed(kind, doomed, paths.get(kind, [])) for kind in Class)
    gone = tuple(ref for ref in refs if ref.key in shrink.dropped)
    kept_bytes = sum(sizes.values()) - sum(size for _, size in doomed.values())
    pruned = Pruned(
        classes=classes, refs=gone, kept_bytes=kept_bytes, budget=limit, young_bytes=young
    )
    return _Plan(refs=gone, blobs=doomed, paths=paths, pruned=pruned)


class _Shrink:
    """Drops references and knows how many bytes the rest needs."""

    def __init__(
        self, reach: Reachability, sizes: dict[str, int], refs: Iterable[Ref], rooted: set[str]
    ) -> None:
        self._reach = reach
        self._sizes = sizes
        self._uses: dict[str, int] = dict.fromkeys(rooted, 1)
        for ref in refs:
            for digest in reach.of(ref):
                self._uses[digest] = self._uses.get(digest, 0) + 1
        self.total = sum(size for digest, size in sizes.items() if self.is_needed(digest))
        self.dropped: set[tuple[Kind, str, str, str]] = set()

    def is_needed(self, digest: str) -> bool:
        return self._uses.get(digest, 0) > 0

    def drop(self, refs: Iterable[Ref]) -> None:
        for ref in refs:
            if ref.key in self.dropped:
                continue
            self.dropped.add(ref.key)
            for digest in self._reach.of(ref):
                self._uses[digest] -= 1
                if not self._uses[digest]:
                    self.total -= self._sizes.get(digest, 0)


def _outdated(store: Store, refs: Sequence[Ref], policy: Policy) -> list[Ref]:
    if policy.everything:
        return list(refs)
    found = []
    if policy.older_than is not None:
        limit = time.time() - policy.older_than
        found += [ref for ref in refs if _last_use(store, ref) < limit]
    if policy.keep_k8s is not None:
        found += _of_old_releases(refs, policy.keep_k8s)
    return found


def _by_value(store: Store, refs: Iterable[Ref]) -> list[Ref]:
    """Return what is missed least first."""
    return sorted(refs, key=lambda ref: (ref.kind not in INTERMEDIATE, _last_use(store, ref)))


def _last_use(store: Store, ref: Ref) -> float:
    """Return a Unix time; a list of references that tells none leaves the age of the blob."""
    return max(ref.last_used_at, ref.added_at) or time.time() - _age(store, ref.digest)


def _of_old_releases(refs: Sequence[Ref], keep: int) -> list[Ref]:
    versions = {ref.version for ref in refs if (ref.kind, ref.name) == (Kind.PACKAGE, "kubeadm")}
    newest = sorted(versions, key=_numbers, reverse=True)
    parts = {version: _parts(version) for version in newest}
    empty: set[tuple[Kind, str, str]] = set()
    kept = empty.union(*(parts[version] for version in newest[:keep]))
    old = empty.union(*(parts[version] for version in newest[keep:])) - kept
    return [ref for ref in refs if _part(ref.kind, ref.name, ref.version) in old]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


def _part(kind: Kind, name: str, version: str) -> tuple[Kind, str, str]:
    """Return what identifies one part of a release; an image's name holds its tag."""
    return (kind, name, "" if kind is Kind.IMAGE else version.removeprefix("v"))


def _parts(version: str) -> set[tuple[Kind, str, str]]:
    """Return what belongs to a release of Kubernetes, as far as this version knows it."""
    found = {_part(Kind.PACKAGE, "kubeadm", version)}
    try:
        release = releases.release(version)
    except ConfigError:
        return found
    for component in release.components:
        found |= {_part(Kind.BINARY, name, component.version) for name in component.installs}
    for image in release.images:
        found |= {_part(Kind.IMAGE, name, "") for name in (image.ref, image.build_ref)}
    recipes = [component.recipe for component in release.components]
    for recipe in (*recipes, *(image.recipe for image in release.images)):
        if isinstance(recipe, GoRecipe):
            found |= {_part(Kind.BINARY, name, recipe.version) for name in recipe.packages}
    return found


def _class(users: Sequence[Ref]) -> Class:
    if not users:
        return Class.UNREFERENCED
    intermediate = all(ref.kind in INTERMEDIATE for ref in users)
    return Class.INTERMEDIATE if intermediate else Class.UNUSED


def _leftovers(store: Store, policy: Policy) -> dict[Class, list[Path]]:
    work = store.root / "build"
    age = 0.0 if policy.everything else QUARANTINE_SECONDS
    partial = 0.0 if policy.everything else float(unfinished_files.DAY_SECONDS)
    return {
        Class.WORK: unfinished_files.entries(work),
        Class.PARTIAL: [*unfinished_files.leftovers(store.ingest, partial), *_half_written(store)],
        Class.QUARANTINE: unfinished_files.leftovers(store.quarantine, age),
    }


def _half_written(store: Store) -> list[Path]:
    """Return what a killed run left of small files that are replaced in one step."""
    found = []
    for directory in (store.root, store.layout, store.root / "attached", store.root / "locks"):
        for path in directory.glob(f"{files.TEMP_PREFIX}*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - GRACE_SECONDS:
                    found.append(path)
    return sorted(found)


def _freed(kind: Class, blobs: dict[str, tuple[Class, int]], paths: Sequence[Path]) -> Freed:
    sizes = [size for of, size in blobs.values() if of is kind]
    sizes += [unfinished_files.size_of(path) for path in paths]
    return Freed(kind, len(sizes), sum(sizes))


def _age(store: Store, digest: str) -> float:
    """Return seconds since a blob came in; a time in the future counts as now, as does its end."""
    try:
        return max(0.0, time.time() - store.locate(digest).path.stat().st_mtime)
    except (NotFoundError, FileNotFoundError):
        return 0.0
