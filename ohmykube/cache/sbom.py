"""A bill of materials: what artifacts are made of, as a CycloneDX 1.6 document.

The same artifacts give the same document: it has no time, and its serial number follows from the
content. Package URLs are those of https://github.com/package-url/purl-spec (oci, golang, deb,
generic).
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ohmykube import __version__
from ohmykube.cache import releases, set_file, signatures
from ohmykube.cache.catalog import GoRecipe
from ohmykube.cache.refs import Signature
from ohmykube.errors import ConfigError
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ohmykube.cache.catalog import ArtifactSet, Component, ImageSpec, ModuleTree, Release
    from ohmykube.cache.refs import Ref

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_SPACE = uuid.UUID("6f1d5a0e-6a0c-5f0e-8a3f-0d6b2c1c7a55")
_TYPES = {
    Kind.IMAGE: "container",
    Kind.BINARY: "application",
    Kind.MACHINE_IMAGE: "operating-system",
}


def document(
    refs: Iterable[Ref],
    *,
    name: str,
    kubernetes: str = "",
    digest: str = "",
    sets: Sequence[ArtifactSet] = (),
) -> dict[str, Any]:
    """Return the bill of materials of artifacts.

    Args:
        refs: the artifacts, in any order; evidence of signatures is left out.
        name: what the whole is called.
        kubernetes: version that the whole is for; its packages are then taken apart.
        digest: of the whole, where it has one; the document's serial number follows from it.
        sets: of add-ons, whose images are then taken apart.
    """
    known = sorted((r for r in refs if not signatures.is_evidence(r)), key=lambda r: r.key)
    release = _release(kubernetes, sets)
    components = [_artifact(ref, release) for ref in known]
    content = digest or "\n".join(f"{ref.key}{ref.digest}" for ref in known)
    whole = {"type": "application", "bom-ref": "whole", "name": name}
    if kubernetes:
        whole["version"] = kubernetes
    tool = {"type": "application", "name": "ohmykube", "version": __version__}
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, content)}",
        "version": 1,
        "metadata": {"tools": {"components": [tool]}, "component": whole},
        "components": components,
        "compositions": [_completeness(components)],
    }


def _completeness(components: list[dict[str, Any]]) -> dict[str, Any]:
    # What is inside the binaries (Go modules, say) and inside images of others is not taken apart.
    return {"aggregate": "incomplete", "assemblies": [part["bom-ref"] for part in components]}


def _release(kubernetes: str, sets: Sequence[ArtifactSet]) -> Release | None:
    try:
        return releases.release(kubernetes).with_sets(sets) if kubernetes else None
    except ConfigError:
        return None  # of a newer ohmykube: its artifacts are listed, not taken apart


def _artifact(ref: Ref, release: Release | None) -> dict[str, Any]:
    image = _image(ref, release)
    short = image.name if image else ref.name.partition(":")[2] or ref.name
    found = {
        "type": _TYPES.get(ref.kind, "file"),
        "bom-ref": f"{ref.kind}/{ref.name}@{ref.version}/{ref.arch}",
        "name": ref.name,
        "version": ref.version or ref.digest,
        "purl": _oci(ref) if ref.kind is Kind.IMAGE else _generic(ref),
        "hashes": _hashes(ref.digest),
        "properties": _properties(ref),
    }
    if ref.url.startswith("https://"):
        url = ref.url.partition("#")[0]
        found["externalReferences"] = [{"type": "distribution", "url": url}]
    if image is not None:
        parts = _inside_image(ref, image)
    else:
        parts = [_inside_package(ref, part, name) for part, name in _installed(ref, release)]
    if parts:
        found["components"] = parts
    return found | _licences(short)


def _image(ref: Ref, release: Release | None) -> ImageSpec | None:
    if ref.kind is not Kind.IMAGE or release is None:
        return None
    return next((i for i in release.images if ref.name in (i.ref, i.build_ref)), None)


def _installed(ref: Ref, release: Release | None) -> list[tuple[Component, str]]:
    if ref.kind is not Kind.PACKAGE or release is None:
        return []
    parts = [part for part in release.components if part.role == ref.name]
    return [(part, name) for part in parts for name in part.installs]


def _inside_package(ref: Ref, part: Component, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "application",
        "bom-ref": f"{ref.kind}/{ref.name}@{ref.version}/{ref.arch}/{name}",
        "name": name,
        "version": part.version,
    }
    download = part.downloads.get(ref.arch)
    if "build" in ref.source.split("+") and part.recipe is not None:
        found["purl"] = _golang(part.recipe)
    elif download is not None:
        more = {"download_url": download.url}
        if download.digest:
            more["checksum"] = download.digest
        found["purl"] = f"pkg:generic/{_word(name)}@{_word(part.version)}?{_pairs(more)}"
        found["externalReferences"] = [{"type": "distribution", "url": download.url}]
    return found | _licences(name)


def _inside_image(ref: Ref, image: ImageSpec) -> list[dict[str, Any]]:
    """Return what an image that we assembled holds; those of others are not taken apart."""
    if "build" not in ref.source.split("+"):
        return []
    place = f"{ref.kind}/{ref.name}@{ref.version}/{ref.arch}"
    parts: list[dict[str, Any]] = []
    parts += [
        {
            "type": "application",
            "bom-ref": f"{place}/{binary}",
            "name": binary,
            "version": recipe.version,
            "purl": _golang(recipe),
        }
        | _licences(image.name)
        for recipe in image.recipes
        if isinstance(recipe, GoRecipe)
        for binary in recipe.binaries
        if binary == image.binary or binary in image.programs
    ]
    if image.files is not None:
        parts.append(
            {
                "type": "data",
                "bom-ref": f"{place}/{image.files.name}",
                "name": image.files.module,
                "version": image.files.version,
                "purl": _golang(image.files),
            }
            | _licences(image.name)
        )
    for name in image.base.packages if image.base else ():
        where = _pairs({"arch": ref.arch, "distro": image.base.suite if image.base else ""})
        parts.append(
            {
                "type": "library",
                "bom-ref": f"{place}/{name}",
                "name": name,
                "purl": f"pkg:deb/debian/{_word(name)}?{where}",
            }
        )
    return parts


def _properties(ref: Ref) -> list[dict[str, str]]:
    facts = {
        "kind": ref.kind.value,
        "arch": ref.arch,
        "size": str(ref.size),
        "source": ref.source,
        "signature": str(ref.signature) or Signature.UNCHECKED.value,
        "upstreamSum": ref.upstream_sum,
        "index": ref.index,
    }
    return [{"name": f"ohmykube:{k}", "value": v} for k, v in sorted(facts.items()) if v]


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]


def _licences(name: str) -> dict[str, Any]:
    known = [spdx for spdx, names in set_file.data("licences").items() if name in names]
    return {"licenses": [{"license": {"id": spdx}} for spdx in known]} if known else {}


def _oci(ref: Ref) -> str:
    repository, _, tag = ref.name.partition("@")[0].rpartition(":")
    if not repository or "/" in tag:
        repository, tag = ref.name.partition("@")[0], ""
    more = {"arch": ref.arch, "repository_url": repository}
    if tag:
        more["tag"] = tag
    return f"pkg:oci/{_word(repository.rpartition('/')[2])}@{_word(ref.digest)}?{_pairs(more)}"


def _generic(ref: Ref) -> str:
    name = _word(ref.name.rpartition(":")[2] or ref.kind.value)
    version = f"@{_word(ref.version)}" if ref.version else ""
    more = {"checksum": ref.digest}
    if ref.arch:
        more["arch"] = ref.arch
    return f"pkg:generic/{name}{version}?{_pairs(more)}"


def _golang(source: GoRecipe | ModuleTree) -> str:
    path = "/".join(_word(part) for part in source.module.split("/"))
    return f"pkg:golang/{path}@{_word(source.version)}"


def _word(text: str) -> str:
    return quote(text, safe=".-_~")


def _pairs(values: dict[str, str]) -> str:
    return urlencode(sorted(values.items()), quote_via=quote, safe=".-_~:/")
