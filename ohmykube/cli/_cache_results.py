"""Results of the commands on the cache, as documents and as text for people."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, TypedDict

from ohmykube.cli._output import document
from ohmykube.errors import IntegrityError
from ohmykube.kit import platform
from ohmykube.ui.console import one_line, seconds, shorten, size
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.cache.fsck import Damaged, Finding, Rebuilt, Verified
    from ohmykube.cache.prune import Pruned
    from ohmykube.cache.store import Ref
    from ohmykube.workflows.cache import Artifact, CacheStats, Removed

_DAY = 24 * 3600.0
_VERSION_WIDTH = 16
_CLASSES = {
    "work": "work directories of builds",
    "partial": "unfinished downloads",
    "quarantine": "quarantine",
    "unreferenced": "blobs that nothing refers to",
    "intermediate": "binaries that packages were made of",
    "unused": "artifacts that no cluster needs",
}


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
    needed_by: list[str]
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
    signature: str
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


def _name(ref: Ref) -> str:
    return f"{ref.kind}/{ref.name}@{ref.version} ({ref.arch})"


def _iso(moment: float) -> str:
    if not moment:
        return ""
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="seconds")


def _ago(moment: float) -> str:
    if not moment:
        return ""
    passed = max(0.0, time.time() - moment)
    if passed < 60:
        return "now"
    for unit, length in (("d", _DAY), ("h", 3600.0), ("m", 60.0)):
        if passed >= length:
            return f"{int(passed // length)}{unit} ago"
    raise AssertionError(passed)


# -- ls ------------------------------------------------------------------------------------------


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
            addedAt=_iso(one.ref.added_at),
            lastUsedAt=_iso(one.ref.last_used_at),
            users=list(one.users),
        )
        for one in found
    ]
    return document("CachedArtifacts", {"items": items})


def artifacts_text(found: Sequence[Artifact]) -> str:
    """Return a table for each kind, with notes on what lacks something."""
    if not found:
        return "Nothing here.\n"
    parts = []
    for kind in dict.fromkeys(one.ref.kind for one in found):
        rows = [_row(one) for one in found if one.ref.kind is kind]
        parts.append(table((kind, "version", "size", "used"), rows))
    lacking = [f"incomplete: {_name(one.ref)}" for one in found if not one.complete]
    if lacking:
        parts.append("\n".join(lacking) + "\n")
    return "\n".join(parts)


def _row(one: Artifact) -> tuple[str, ...]:
    ref = one.ref
    used = ", ".join(one.users) or ("pinned" if ref.pinned else _ago(ref.last_used_at))
    return (*_label(ref), size(one.size), used)


def _label(ref: Ref) -> tuple[str, str]:
    """Return name and version; a tag or an architecture only where it says something new."""
    name = ref.name.removesuffix(f":{ref.version}")
    if ref.arch not in (platform.architecture(), "noarch"):
        name += f" ({ref.arch})"
    return name, shorten(ref.version, _VERSION_WIDTH)


# -- stats ---------------------------------------------------------------------------------------


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
        totals=_totals(found),
        attached=dict(found.attached),
        leases=[
            {
                "owner": one.owner,
                "pid": one.pid,
                "since": _iso(one.since),
                "blobs": len(one.digests),
            }
            for one in found.leases
        ],
        index=found.trouble or "ok",
    )
    return document("CacheStatistics", content)


def _totals(found: CacheStats) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for values in found.counters.values():
        sums.update(values)
    return {name: sums[name] for name in ("hits", "misses", "bytes_in", "bytes_out", "bytes_saved")}


def stats_text(found: CacheStats) -> str:
    """Return sizes by kind, then what else is to be known."""
    rows: list[tuple[object, ...]] = [
        (kind.kind, kind.refs, size(kind.logical), size(kind.unique)) for kind in found.kinds
    ]
    if found.unreferenced:
        lone = size(found.unreferenced)
        rows.append(("(nothing refers to)", "", lone, lone))
    rows.append(("all", sum(k.refs for k in found.kinds), size(found.logical), size(found.unique)))
    sums = _totals(found)
    asked = sums["hits"] + sums["misses"]
    share = f" ({100 * sums['hits'] / asked:.0f} %)" if asked else ""
    facts = [
        ("directory", str(found.root)),
        ("sharing", f"{found.ratio:.2f} times larger without"),
        ("on disk", f"{size(found.on_disk)} in {found.blobs} blobs"),
        ("leftovers", size(found.leftovers)),
        ("budget", f"{size(found.budget)}  (ohmykube cache prune)"),
        ("hits", f"{sums['hits']} of {asked}{share}"),
        ("fetched", size(sums["bytes_in"])),
        ("not fetched again", size(sums["bytes_saved"])),
        ("served", size(sums["bytes_out"])),
    ]
    for path, blobs in found.attached.items():
        facts.append(("bundle", f"{path}: {f'{blobs} blobs' if blobs else 'changed or gone'}"))
    facts += [("in use by", f"{one.owner}, pid {one.pid}") for one in found.leases]
    if found.trouble:
        facts.append(("index.db", one_line(found.trouble)))
    width = max(len(name) for name, _ in facts) + 2
    lines = "".join(f"{name.ljust(width)}{text}\n" for name, text in facts)
    return table(("kind", "artifacts", "apart", "together"), rows) + "\n" + lines


# -- verify --------------------------------------------------------------------------------------


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
                needed_by=[_name(ref) for ref in one.refs],
                why=one.why,
            )
            for one in found.damaged
        ],
    )


def verified(found: Verified) -> dict[str, Any]:
    """Return the document of ``verify``."""
    return document("CacheVerified", _verified(found))


def verified_text(found: Verified) -> str:
    """Return how much was hashed, then what is damaged."""
    rate = f", {size(found.size / found.seconds)}/s" if found.seconds else ""
    jobs = "1 job" if found.jobs == 1 else f"{found.jobs} jobs"
    head = f"Hashed {_blobs(found.blobs)}, {size(found.size)}, in {seconds(found.seconds)}"
    text = f"{head} ({jobs}{rate}): "
    if not found.damaged:
        return f"{text}all as they should be\n"
    rows = [(one.digest[7:19], size(one.size), _users(one)) for one in found.damaged]
    return f"{text}{len(found.damaged)} damaged\n\n" + table(("blob", "size", "needed by"), rows)


def _blobs(count: int) -> str:
    return "1 blob" if count == 1 else f"{count} blobs"


def _users(one: Damaged) -> str:
    names = [f"{ref.kind} {ref.name}" for ref in one.refs]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def damage(found: Verified) -> IntegrityError | None:
    """Return the error for what ``verify`` found damaged, or None."""
    if not found.damaged:
        return None
    refs = {ref.key: ref for one in found.damaged for ref in one.refs}
    lost = [_name(ref) for _, ref in sorted(refs.items())]
    loaded = [ref.name for ref in refs.values() if ref.source == "load"]
    hint = "ohmykube up  (fetches what a cluster needs anew)"
    if loaded:
        hint = f"ohmykube image load {loaded[0]}  (for what you have loaded); {hint}"
    return IntegrityError(
        f"{len(found.damaged)} of {_blobs(found.blobs)} were damaged and are in quarantine",
        why="needed by " + ", ".join(lost[:8]) if lost else "nothing refers to them",
        hint=hint if lost else "nothing needs to be done; check the disk if this comes back",
        id="OMK-I-308",
    )


def signatures(found: Sequence[Artifact]) -> dict[str, Any]:
    """Return the document of ``verify --signatures``."""
    items = [
        CacheSignature(
            kind=str(one.ref.kind),
            name=one.ref.name,
            version=one.ref.version,
            arch=one.ref.arch,
            signature=_signature(one.ref),
            upstreamSum=one.ref.upstream_sum,
        )
        for one in found
    ]
    return document("CacheSignatures", {"items": items})


def _signature(ref: Ref) -> str:
    return str(ref.signature) or "unchecked"


def signatures_text(found: Sequence[Artifact]) -> str:
    """Return one row for each artifact, then a sum."""
    if not found:
        return "Nothing here.\n"
    rows = [
        (
            *_label(one.ref),
            "compared" if one.ref.upstream_sum else "",
            _signature(one.ref),
        )
        for one in found
    ]
    counts = Counter(_signature(one.ref) for one in found)
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return table(("name", "version", "sum", "signature"), rows) + f"\nsignatures: {told}\n"


def bad_signatures(found: Sequence[Artifact]) -> IntegrityError | None:
    """Return the error for artifacts whose signature was wrong, or None."""
    bad = [_name(one.ref) for one in found if one.ref.signature == "failed"]
    if not bad:
        return None
    return IntegrityError(
        f"the publisher's signature of {len(bad)} artifacts is wrong",
        why=", ".join(bad[:8]),
        hint="ohmykube cache rm REF, then fetch it from a source that you trust",
        id="OMK-I-309",
    )


# -- fsck ----------------------------------------------------------------------------------------


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


def checked_text(findings: Sequence[Finding], done: Rebuilt | None) -> str:
    """Return what was made anew, then what is still wrong."""
    text = ""
    if done is not None:
        text = verified_text(done.verified)
        text += f"The index is new; {done.refs_found} references were found again"
        text += f" and {done.refs_dropped} dropped\n"
    for one in findings:
        text += f"\n{one_line(one.subject)}\n    {one_line(one.detail)}\n    {one.repaired_by}\n"
    return text if findings else f"{text}All parts of the cache agree.\n"


def trouble(findings: Sequence[Finding], done: Rebuilt | None) -> IntegrityError | None:
    """Return the error for what ``fsck`` found, or None."""
    if done is not None and (failure := damage(done.verified)) is not None:
        return failure
    if not findings:
        return None
    return IntegrityError(
        "the parts of the cache do not agree",
        why=f"{len(findings)} findings, listed above",
        hint=findings[0].repaired_by,
        id="OMK-I-310",
    )


# -- prune and rm --------------------------------------------------------------------------------


def pruned(done: Pruned, *, dry_run: bool) -> dict[str, Any]:
    """Return the document of ``prune``."""
    content = CachePruned(
        dryRun=dry_run,
        freed=done.freed,
        classes=[
            CacheFreed(kind=str(one.kind), items=one.items, size=one.size) for one in done.classes
        ],
        artifacts=[_name(ref) for ref in done.refs],
        keptSize=done.kept_bytes,
        budget=done.budget,
        youngSize=done.young_bytes,
    )
    return document("CachePruned", content)


def pruned_text(done: Pruned, *, dry_run: bool) -> str:
    """Return what goes by class, and what stays."""
    rows = [(_CLASSES[one.kind], one.items, size(one.size)) for one in done.classes if one.items]
    verb = "Would free" if dry_run else "Freed"
    text = table(("what", "items", "size"), rows) + "\n" if rows else ""
    text += f"{verb} {size(done.freed)}; {size(done.kept_bytes)} stay"
    text += f" (budget {size(done.budget)})\n"
    if done.young_bytes:
        text += f"{size(done.young_bytes)} are not needed but younger than an hour, and stay\n"
    return text


def removed(done: Removed, *, dry_run: bool) -> dict[str, Any]:
    """Return the document of ``rm``."""
    content = CacheRemoved(
        dryRun=dry_run,
        artifacts=[_name(ref) for ref in done.refs],
        freed=done.freed,
        keptBack=done.kept_back,
    )
    return document("CacheRemoved", content)


def removed_text(done: Removed, *, dry_run: bool) -> str:
    """Return what goes, and how much that frees."""
    names = "".join(f"{_name(ref)}\n" for ref in done.refs)
    verb = "Would remove" if dry_run else "Removed"
    text = f"{names}{verb} {len(done.refs)}, which frees {size(done.freed)}\n"
    if done.kept_back:
        text += f"{size(done.kept_back)} stay until: ohmykube cache prune\n"
    return text
