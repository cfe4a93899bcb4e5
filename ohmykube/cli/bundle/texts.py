"""Results of the commands on bundles, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.kit import amounts, architecture

if TYPE_CHECKING:
    from ohmykube.cache.bundle.document import Component
    from ohmykube.cache.bundle.import_bundle import ImportedBundle
    from ohmykube.cache.bundle.write import Written
    from ohmykube.workflows.bundle import Checked

_VERSION_WIDTH = 16


def written(result: Written) -> str:
    """Return the files and what to do with them."""
    from ohmykube.cache.bundle.document import verifying

    bundle = result.bundle
    first, *rest = result.paths
    parts = f" and {amounts.count(len(rest), 'part')}" if rest else ""
    lines = [
        f"{first}{parts}: {amounts.count(len(bundle.blobs), 'blob')}, {amounts.size(result.size)}"
    ]
    if bundle.absent:
        lines.append(f"{amounts.count(len(bundle.absent), 'blob')} left out (in the older bundle)")
    lines += [f"not in it: {text}" for text in bundle.lacks]
    lines.append("signed" if result.signed else "not signed")
    return "\n".join([*lines, "", f"  {verifying(str(first))}"]) + "\n"


def inspect(found: Checked) -> str:
    """Return the head and one row for each component."""
    from ohmykube.ui.tables import table

    bundle = found.archive.bundle
    what = f"Kubernetes {bundle.kubernetes}, {bundle.arch}" if bundle.kubernetes else "an export"
    size = f"{amounts.count(len(bundle.blobs), 'blob')}, {amounts.size(found.archive.source.size)}"
    lines = [
        f"{found.archive.label}: {what}, {size}",
        f"made by {bundle.tool}" + (f" for cluster {bundle.name}" if bundle.kubernetes else ""),
        _signature(found),
    ]
    if bundle.since:
        absent = amounts.count(len(bundle.absent), "blob")
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
    if component.arch not in (architecture.host(), "noarch"):
        name += f" ({component.arch})"
    blob = component.part_of or component.digest.removeprefix("sha256:")[:12]
    return name, shorten(component.version, _VERSION_WIDTH), blob


def verify(found: Checked) -> str:
    """Return the verdict."""
    bundle = found.archive.bundle
    blobs = amounts.count(len(bundle.blobs), "blob")
    size = amounts.size(found.archive.source.size)
    lines = [f"{found.archive.label} is whole: {blobs} hashed, {size}", _signature(found)]
    if bundle.absent:
        absent = amounts.count(len(bundle.absent), "blob")
        lines.append(f"{absent} must come from the bundle {_short(bundle.since)}")
    return "\n".join(lines) + "\n"


def _signature(found: Checked) -> str:
    if found.signer:
        return f"signed by {found.signer}, who is an allowed signer"
    if found.signed:
        return f"signed with {found.key}; nobody said whose key may sign (--allowed-signers)"
    return "not signed: whoever could change the file could change everything in it"


def imported(result: ImportedBundle) -> str:
    """Return the same for people."""
    return (
        f"{result.archive.label}: {amounts.count(result.copied, 'blob')} copied "
        f"({amounts.size(result.copied_bytes)}), {result.present} were there, "
        f"{amounts.count(len(result.archive.refs), 'reference')}\n"
    )


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]
