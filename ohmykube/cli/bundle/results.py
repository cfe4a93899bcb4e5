"""Results of the commands on bundles, as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from ohmykube.cli._output import document

if TYPE_CHECKING:
    from ohmykube.cache.bundle.document import Component
    from ohmykube.cache.bundle.import_bundle import ImportedBundle
    from ohmykube.cache.bundle.write import Written
    from ohmykube.workflows.bundle import Checked


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


def imported(result: ImportedBundle) -> dict[str, Any]:
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
