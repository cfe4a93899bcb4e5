"""Results of the commands on bundles, as documents and as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from ohmykube.cli._output import document
from ohmykube.kit import architecture

if TYPE_CHECKING:
    from ohmykube.cache.bundle.document import Component
    from ohmykube.cache.bundle.import_bundle import Brought
    from ohmykube.cache.bundle.write import Written
    from ohmykube.workflows.bundle import Checked


_VERSION_WIDTH = 16


class BundleWritten(TypedDict):
    """``ohmykube bundle create`` and ``ohmykube cache export``; sizes in bytes."""

    files: list[str]
    size: int
    digest: str
    blobs: int
    leftOut: int
    signed: bool
    lacks: list[str]


class BundleComponent(TypedDict):
    """One thing in a bundle that has a version."""

    kind: str
    name: str
    version: str
    arch: str
    digest: str
    licence: str
    partOf: str


class BundleReport(TypedDict):
    """``ohmykube bundle inspect`` and ``ohmykube bundle verify``; sizes in bytes."""

    file: str
    parts: int
    size: int
    digest: str
    tool: str
    name: str
    kubernetesVersion: str
    arch: str
    provider: str
    since: str
    blobs: int
    absentBlobs: int
    hashed: bool
    signed: bool
    signer: str
    key: str
    components: list[BundleComponent]
    lacks: list[str]


class CacheImport(TypedDict):
    """``ohmykube cache import``; sizes in bytes."""

    file: str
    copied: int
    copiedBytes: int
    present: int
    references: int
    replaced: list[str]
    signed: bool
    signer: str


KINDS: dict[str, type] = {
    "BundleWritten": BundleWritten,
    "BundleReport": BundleReport,
    "CacheImport": CacheImport,
}
"""Document kinds by name."""


def written(result: Written) -> dict[str, Any]:
    """Return what was written."""
    return document(
        "BundleWritten",
        {
            "files": [str(path) for path in result.paths],
            "size": result.size,
            "digest": result.digest,
            "blobs": len(result.bundle.blobs),
            "leftOut": len(result.bundle.absent),
            "signed": result.signed,
            "lacks": list(result.bundle.lacks),
        },
    )


def written_text(result: Written) -> str:
    """Return the files and what to do with them."""
    from ohmykube.cache.bundle.document import verifying

    bundle = result.bundle
    first, *rest = result.paths
    parts = f" and {_count(len(rest), 'part')}" if rest else ""
    lines = [f"{first}{parts}: {_count(len(bundle.blobs), 'blob')}, {_size(result.size)}"]
    if bundle.absent:
        lines.append(f"{_count(len(bundle.absent), 'blob')} left to the older bundle")
    lines += [f"not in it: {text}" for text in bundle.lacks]
    lines.append("signed" if result.signed else "not signed")
    return "\n".join([*lines, "", f"  {verifying(str(first))}"]) + "\n"


def report(found: Checked) -> dict[str, Any]:
    """Return what is known about a bundle."""
    archive, bundle = found.archive, found.archive.bundle
    return document(
        "BundleReport",
        {
            "file": archive.label,
            "parts": len(archive.source.parts) if archive.source.divided else 0,
            "size": archive.source.size,
            "digest": archive.digest,
            "tool": bundle.tool,
            "name": bundle.name,
            "kubernetesVersion": bundle.kubernetes,
            "arch": bundle.arch,
            "provider": bundle.provider,
            "since": bundle.since,
            "blobs": len(bundle.blobs),
            "absentBlobs": len(bundle.absent),
            "hashed": found.hashed,
            "signed": found.signed,
            "signer": found.signer,
            "key": found.key,
            "components": [_component(component) for component in bundle.components],
            "lacks": list(bundle.lacks),
        },
    )


def _component(component: Component) -> dict[str, str]:
    return {
        "kind": component.kind,
        "name": component.name,
        "version": component.version,
        "arch": component.arch,
        "digest": component.digest,
        "licence": component.licence,
        "partOf": component.part_of,
    }


def inspect_text(found: Checked) -> str:
    """Return the head and one row for each component."""
    from ohmykube.ui.tables import table

    bundle = found.archive.bundle
    what = f"Kubernetes {bundle.kubernetes}, {bundle.arch}" if bundle.kubernetes else "an export"
    size = f"{_count(len(bundle.blobs), 'blob')}, {_size(found.archive.source.size)}"
    lines = [
        f"{found.archive.label}: {what}, {size}",
        f"made by {bundle.tool}" + (f" for cluster {bundle.name}" if bundle.kubernetes else ""),
        _signature(found),
    ]
    if bundle.since:
        absent = _count(len(bundle.absent), "blob")
        lines.append(f"adds to the bundle {_short(bundle.since)}, which has {absent} of it")
    lines += [f"not in it: {text}" for text in bundle.lacks]
    tables = [
        table((kind, "version", "blob"), [_row(c) for c in bundle.components if c.kind == kind])
        for kind in dict.fromkeys(c.kind for c in bundle.components)
    ]
    return "\n".join(lines) + "\n\n" + "\n".join(tables)


def _row(component: Component) -> tuple[str, ...]:
    from ohmykube.ui.console import shorten

    name = component.name.removesuffix(f":{component.version}")
    if component.arch not in (architecture.architecture(), "noarch"):
        name += f" ({component.arch})"
    blob = component.part_of or component.digest.removeprefix("sha256:")[:12]
    return name, shorten(component.version, _VERSION_WIDTH), blob


def verify_text(found: Checked) -> str:
    """Return the verdict."""
    bundle = found.archive.bundle
    size = f"{_count(len(bundle.blobs), 'blob')} hashed, {_size(found.archive.source.size)}"
    lines = [f"{found.archive.label} is whole: {size}", _signature(found)]
    if bundle.absent:
        lines.append(
            f"{_count(len(bundle.absent), 'blob')} must come from the bundle {_short(bundle.since)}"
        )
    return "\n".join(lines) + "\n"


def _signature(found: Checked) -> str:
    if found.signer:
        return f"signed by {found.signer}, who is an allowed signer"
    if found.signed:
        return f"signed with {found.key}; nobody said whose key may sign (--allowed-signers)"
    return "not signed: whoever could change the file could change everything in it"


def imported(result: Brought) -> dict[str, Any]:
    """Return what came into the cache."""
    return document(
        "CacheImport",
        {
            "file": result.archive.label,
            "copied": result.copied,
            "copiedBytes": result.copied_bytes,
            "present": result.present,
            "references": len(result.archive.refs),
            "replaced": list(result.replaced),
            "signed": result.archive.signature is not None,
            "signer": result.signer,
        },
    )


def imported_text(result: Brought) -> str:
    """Return the same for people."""
    return (
        f"{result.archive.label}: {_count(result.copied, 'blob')} copied "
        f"({_size(result.copied_bytes)}), {result.present} were there, "
        f"{_count(len(result.archive.refs), 'reference')}\n"
    )


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count} bytes"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
