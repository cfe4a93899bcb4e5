"""Results of the commands on the cache, as text for people, and the errors that follow them."""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from typing import TYPE_CHECKING

from ohmykube.cli.cache.results import label, totals
from ohmykube.errors import IntegrityError
from ohmykube.kit import amounts, architecture
from ohmykube.ui.console import PLAIN_WIDTH, one_line, seconds, shorten
from ohmykube.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.cache.fsck import Damaged, Finding, Rebuilt, Verified
    from ohmykube.cache.prune import Pruned
    from ohmykube.cache.signatures import Report
    from ohmykube.cache.store import Ref
    from ohmykube.workflows.cache import Artifact, CacheStats, Removed

_DAY = 24 * 3600.0
_VERSION_WIDTH = 16
_MOST_NAMES = 8
"""How many names one message lists."""
_CLASSES = {
    "work": "work directories of builds",
    "partial": "unfinished downloads",
    "quarantine": "quarantine",
    "unreferenced": "blobs that nothing refers to",
    "intermediate": "what can be made again here",
    "unused": "artifacts that no cluster needs",
}


def _ago(moment: float) -> str:
    if not moment:
        return ""
    passed = max(0.0, time.time() - moment)
    if passed < 60:
        return "now"
    for unit, length in (("d", _DAY), ("h", 3600.0)):
        if passed >= length:
            return f"{int(passed // length)}{unit} ago"
    return f"{int(passed // 60)}m ago"


def artifacts(found: Sequence[Artifact]) -> str:
    """Return a table for each kind, with notes on what lacks something."""
    if not found:
        return "Nothing here.\n"
    parts = []
    for kind in dict.fromkeys(one.ref.kind for one in found):
        rows = [_row(one) for one in found if one.ref.kind is kind]
        parts.append(table((kind, "version", "size", "used"), rows))
    lacking = [f"incomplete: {label(one.ref)}" for one in found if not one.complete]
    if lacking:
        parts.append("\n".join(lacking) + "\n")
    return "\n".join(parts)


def _row(one: Artifact) -> tuple[str, ...]:
    ref = one.ref
    used = ", ".join(one.users) or ("pinned" if ref.pinned else _ago(ref.last_used_at))
    return (*_columns(ref), amounts.size(one.size), used)


def _columns(ref: Ref) -> tuple[str, str]:
    """Return name and version; a tag or an architecture only where it says something new."""
    name = ref.name.removesuffix(f":{ref.version}")
    if ref.arch not in (architecture.host(), "noarch"):
        name += f" ({ref.arch})"
    return name, shorten(ref.version, _VERSION_WIDTH)


def stats(found: CacheStats) -> str:
    """Return sizes by kind, then what else is to be known."""
    rows: list[tuple[object, ...]] = [
        (kind.kind, kind.refs, amounts.size(kind.logical), amounts.size(kind.unique))
        for kind in found.kinds
    ]
    if found.unreferenced:
        lone = amounts.size(found.unreferenced)
        rows.append(("(nothing refers to)", "", lone, lone))
    rows.append(
        (
            "all",
            sum(k.refs for k in found.kinds),
            amounts.size(found.logical),
            amounts.size(found.unique),
        )
    )
    sums = totals(found)
    asked = sums["hits"] + sums["misses"]
    share = f" ({100 * sums['hits'] / asked:.0f} %)" if asked else ""
    facts = [
        ("directory", str(found.root)),
        ("sharing", f"{found.ratio:.2f} times larger without"),
        ("on disk", f"{amounts.size(found.on_disk)} in {amounts.count(found.blobs, 'blob')}"),
        ("leftovers", amounts.size(found.leftovers)),
        ("budget", f"{amounts.size(found.budget)}  (ohmykube cache prune)"),
        ("hits", f"{sums['hits']} of {asked}{share}"),
        ("fetched", amounts.size(sums["bytes_in"])),
        ("not fetched again", amounts.size(sums["bytes_saved"])),
        ("served", amounts.size(sums["bytes_out"])),
    ]
    for path, blobs in found.attached.items():
        facts.append(
            ("bundle", f"{path}: {amounts.count(blobs, 'blob') if blobs else 'changed or gone'}")
        )
    facts += [("in use by", f"{one.owner}, pid {one.pid}") for one in found.leases]
    if found.trouble:
        facts.append(("index.db", one_line(found.trouble)))
    width = max(len(name) for name, _ in facts) + 2
    lines = "".join(f"{name.ljust(width)}{text}\n" for name, text in facts)
    return table(("kind", "artifacts", "apart", "together"), rows) + "\n" + lines


def verified(found: Verified) -> str:
    """Return how much was hashed, then what is damaged."""
    rate = f", {amounts.size(found.size / found.seconds)}/s" if found.seconds else ""
    jobs = amounts.count(found.jobs, "job")
    head = f"Hashed {_blobs(found.blobs)}, {amounts.size(found.size)}, in {seconds(found.seconds)}"
    text = f"{head} ({jobs}{rate}): "
    if not found.damaged:
        return f"{text}all of them intact\n"
    rows = [(one.digest[7:19], amounts.size(one.size), _users(one)) for one in found.damaged]
    return f"{text}{len(found.damaged)} damaged\n\n" + table(("blob", "size", "needed by"), rows)


def _blobs(number: int) -> str:
    return amounts.count(number, "blob")


def _users(one: Damaged) -> str:
    names = [f"{ref.kind} {ref.name}" for ref in one.refs]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def damage(found: Verified) -> IntegrityError | None:
    """Return the error for what ``verify`` found damaged, or None."""
    if not found.damaged:
        return None
    refs = {ref.key: ref for one in found.damaged for ref in one.refs}
    lost = [label(ref) for _, ref in sorted(refs.items())]
    loaded = [ref.name for ref in refs.values() if ref.source == "load"]
    hint = "ohmykube up  (fetches what a cluster needs anew)"
    if loaded:
        hint = f"ohmykube image load {loaded[0]}  (for what you have loaded); {hint}"
    return IntegrityError(
        f"{len(found.damaged)} of {_blobs(found.blobs)} were damaged and are in quarantine",
        why=f"needed by {_some(lost)}" if lost else "nothing refers to them",
        hint=hint if lost else "nothing needs to be done; check the disk if this comes back",
        id="OMK-I-308",
    )


def _some(names: Sequence[str]) -> str:
    """Return as many names as a message has room for, and how many there are more."""
    left = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {left} more" if left > 0 else "")


def signatures(found: Sequence[Report]) -> str:
    """Return one row for each artifact, then how many there are of each state, and why."""
    if not found:
        return "Nothing here.\n"
    rows = [
        (*_columns(one.ref), "compared" if one.ref.upstream_sum else "", one.state.value)
        for one in found
    ]
    counts = Counter((one.state.value, one_line(one.why)) for one in found)
    text = table(("name", "version", "sum", "signature"), rows) + "\n"
    for (state, why), count in sorted(counts.items()):
        told = f"{count} {state}" + (f": {why}" if why else "")
        text += textwrap.fill(told, PLAIN_WIDTH, subsequent_indent="    ") + "\n"
    return text


def bad_signatures(found: Sequence[Report]) -> IntegrityError | None:
    """Return the error for artifacts whose signature was wrong, or None."""
    bad = [label(one.ref) for one in found if one.ref.signature == "failed"]
    if not bad:
        return None
    return IntegrityError(
        f"the publisher's signature of {len(bad)} artifacts is wrong",
        why=_some(bad),
        hint="ohmykube cache rm REF, then fetch it from a source that you trust",
        id="OMK-I-309",
    )


def checked(findings: Sequence[Finding], done: Rebuilt | None) -> str:
    """Return what was made anew, then what is still wrong."""
    text = ""
    if done is not None:
        text = verified(done.verified)
        text += f"The index is new; {amounts.count(done.refs_found, 'reference')} found again"
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
        why="one finding, listed above" if len(findings) == 1 else f"{len(findings)}, listed above",
        hint=findings[0].repaired_by,
        id="OMK-I-310",
    )


def pruned(done: Pruned, *, dry_run: bool) -> str:
    """Return what goes by class, and what stays."""
    rows = [
        (_CLASSES[one.kind], one.items, amounts.size(one.size)) for one in done.classes if one.items
    ]
    verb = "Would free" if dry_run else "Freed"
    text = table(("what", "items", "size"), rows) + "\n" if rows else ""
    text += f"{verb} {amounts.size(done.freed)}; {amounts.size(done.kept_bytes)} stay"
    text += f" (budget {amounts.size(done.budget)})\n"
    if done.young_bytes:
        text += (
            f"{amounts.size(done.young_bytes)} are not needed but younger than an hour, and stay\n"
        )
    return text


def removed(done: Removed, *, dry_run: bool) -> str:
    """Return what goes, and how much that frees."""
    names = "".join(f"{label(ref)}\n" for ref in done.refs)
    verb = "Would remove" if dry_run else "Removed"
    text = f"{names}{verb} {len(done.refs)}, which frees {amounts.size(done.freed)}\n"
    if done.kept_back:
        text += f"{amounts.size(done.kept_back)} stay until: ohmykube cache prune\n"
    return text
