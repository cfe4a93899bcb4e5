"""Results of the commands on the cache, as documents."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypedDict

from ohmykube.cli._output import document, time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.cache.fsck import Finding, Rebuilt, Verified
    from ohmykube.cache.prune import Pruned
    from ohmykube.cache.signatures import Report
    from ohmykube.cache.store import Ref
    from ohmykube.workflows.cache import Artifact, CacheStats, Removed


class CachedArtifact(TypedDict):
    """One artifact; sizes in bytes, times in ISO 8601 or empty."""

    kind: str
    name: str
    version: str
    arch: str
    digest: str
    size: int
    complete: bool
    source: str
    url: str
    pinned: bool
    addedAt: str
    lastUsedAt: str
    users: list[str]


class CachedArtifacts(TypedDict):
    """``ohmykube cache ls``."""

    items: list[CachedArtifact]


class CacheKindTotal(TypedDict):
    """All artifacts of one kind; sizes in bytes."""

    kind: str
    artifacts: int
    logicalSize: int
    uniqueSize: int


class CacheStatistics(TypedDict):
    """``ohmykube cache stats``; sizes in bytes."""

    directory: str
    kinds: list[CacheKindTotal]
    blobs: int
    uniqueSize: int
    logicalSize: int
    dedupeRatio: float
    unreferencedSize: int
    diskSize: int
    leftoverSize: int
    budget: int
    counters: dict[str, dict[str, int]]
    totals: dict[str, int]
    attached: dict[str, int]
    leases: list[dict[str, Any]]
    index: str


class DamagedBlob(TypedDict):
    """A blob that is not what its name says."""

    digest: str
    size: int
    neededBy: list[str]
    why: str


class CacheVerified(TypedDict):
    """``ohmykube cache verify``; sizes in bytes."""

    blobs: int
    size: int
    seconds: float
    bytesPerSecond: float
    jobs: int
    damaged: list[DamagedBlob]


class CacheSignature(TypedDict):
    """What is known about the origin of an artifact."""

    kind: str
    name: str
    version: str
    arch: str
    digest: str
    source: str
    signature: str
    why: str
    upstreamSum: str


class CacheSignatures(TypedDict):
    """``ohmykube cache verify --signatures``."""

    items: list[CacheSignature]


class CacheFinding(TypedDict):
    """Something that is not as it should be, and the command that puts it right."""

    subject: str
    detail: str
    repairedBy: str


class CacheChecked(TypedDict):
    """``ohmykube cache fsck``; the last three are null without ``--rebuild``."""

    findings: list[CacheFinding]
    refsFound: int | None
    refsDropped: int | None
    verified: CacheVerified | None


class CacheFreed(TypedDict):
    """One class of what went; ``size`` in bytes."""

    kind: str
    items: int
    size: int


class CachePruned(TypedDict):
    """``ohmykube cache prune``; sizes in bytes."""

    dryRun: bool
    freed: int
    classes: list[CacheFreed]
    artifacts: list[str]
    keptSize: int
    budget: int
    youngSize: int


class CacheRemoved(TypedDict):
    """``ohmykube cache rm``; sizes in bytes."""

    dryRun: bool
    artifacts: list[str]
    freed: int
    keptBack: int


KINDS: dict[str, type] = {
    "CachedArtifacts": CachedArtifacts,
    "CacheStatistics": CacheStatistics,
    "CacheVerified": CacheVerified,
    "CacheSignatures": CacheSignatures,
    "CacheChecked": CacheChecked,
    "CachePruned": CachePruned,
    "CacheRemoved": CacheRemoved,
}
"""Document kinds by name."""


def label(ref: Ref) -> str:
    """Return how a reference is written for commands, with its architecture."""
    return f"{ref.kind}/{ref.name}@{ref.version}/{ref.arch}"


def artifacts(found: Sequence[Artifact]) -> dict[str, Any]:
    """Return the document of ``ls``."""
    items = [
        CachedArtifact(
            kind=str(one.ref.kind),
            name=one.ref.name,
            version=one.ref.version,
            arch=one.ref.arch,
            digest=one.ref.digest,
            size=one.size,
            complete=one.complete,
            source=one.ref.source,
            url=one.ref.url,
            pinned=one.ref.pinned,
            addedAt=time(one.ref.added_at),
            lastUsedAt=time(one.ref.last_used_at),
            users=list(one.users),
        )
        for one in found
    ]
    return document("CachedArtifacts", {"items": items})


def stats(found: CacheStats) -> dict[str, Any]:
    """Return the document of ``stats``."""
    content = CacheStatistics(
        directory=str(found.root),
        kinds=[
            CacheKindTotal(
                kind=str(kind.kind),
                artifacts=kind.refs,
                logicalSize=kind.logical,
                uniqueSize=kind.unique,
            )
            for kind in found.kinds
        ],
        blobs=found.blobs,
        uniqueSize=found.unique,
        logicalSize=found.logical,
        dedupeRatio=round(found.ratio, 3),
        unreferencedSize=found.unreferenced,
        diskSize=found.on_disk,
        leftoverSize=found.leftovers,
        budget=found.budget,
        counters={day: dict(values) for day, values in found.counters.items()},
        totals=totals(found),
        attached=dict(found.attached),
        leases=[
            {
                "owner": one.owner,
                "pid": one.pid,
                "since": time(one.since),
                "blobs": len(one.digests),
            }
            for one in found.leases
        ],
        index=found.trouble or "ok",
    )
    return document("CacheStatistics", content)


def totals(found: CacheStats) -> dict[str, int]:
    """Return each counter's sum over all days."""
    sums: Counter[str] = Counter()
    for values in found.counters.values():
        sums.update(values)
    return {name: sums[name] for name in ("hits", "misses", "bytes_in", "bytes_out", "bytes_saved")}


def _verified(found: Verified) -> CacheVerified:
    return CacheVerified(
        blobs=found.blobs,
        size=found.size,
        seconds=round(found.seconds, 3),
        bytesPerSecond=round(found.size / found.seconds) if found.seconds else 0,
        jobs=found.jobs,
        damaged=[
            DamagedBlob(
                digest=one.digest,
                size=one.size,
                neededBy=[label(ref) for ref in one.refs],
                why=one.why,
            )
            for one in found.damaged
        ],
    )


def verified(found: Verified) -> dict[str, Any]:
    """Return the document of ``verify``."""
    return document("CacheVerified", _verified(found))


def signatures(found: Sequence[Report]) -> dict[str, Any]:
    """Return the document of ``verify --signatures``."""
    items = [
        CacheSignature(
            kind=str(one.ref.kind),
            name=one.ref.name,
            version=one.ref.version,
            arch=one.ref.arch,
            digest=one.ref.digest,
            source=one.ref.source,
            signature=one.state.value,
            why=one.why,
            upstreamSum=one.ref.upstream_sum,
        )
        for one in found
    ]
    return document("CacheSignatures", {"items": items})


def checked(findings: Sequence[Finding], done: Rebuilt | None) -> dict[str, Any]:
    """Return the document of ``fsck``."""
    content = CacheChecked(
        findings=[
            CacheFinding(subject=one.subject, detail=one.detail, repairedBy=one.repaired_by)
            for one in findings
        ],
        refsFound=done.refs_found if done else None,
        refsDropped=done.refs_dropped if done else None,
        verified=_verified(done.verified) if done else None,
    )
    return document("CacheChecked", content)


def pruned(done: Pruned, *, dry_run: bool) -> dict[str, Any]:
    """Return the document of ``prune``."""
    content = CachePruned(
        dryRun=dry_run,
        freed=done.freed,
        classes=[
            CacheFreed(kind=str(one.kind), items=one.items, size=one.size) for one in done.classes
        ],
        artifacts=[label(ref) for ref in done.refs],
        keptSize=done.kept_bytes,
        budget=done.budget,
        youngSize=done.young_bytes,
    )
    return document("CachePruned", content)


def removed(done: Removed, *, dry_run: bool) -> dict[str, Any]:
    """Return the document of ``rm``."""
    content = CacheRemoved(
        dryRun=dry_run,
        artifacts=[label(ref) for ref in done.refs],
        freed=done.freed,
        keptBack=done.kept_back,
    )
    return document("CacheRemoved", content)
