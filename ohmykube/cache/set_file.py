"""Sets of artifacts as files: how they are written, and their way into the catalog.

A file is YAML::

    name: example
    version: 1.2.3
    condition: "addon: example"          # or "cni: …"; without one every cluster has the set
    end_of_life: 2027-01-31
    requires: {oldest_kubernetes: "1.31", kernel: [vxlan], memory_mib: 2048, disks: 1}
    recipes: {NAME: RECIPE}              # shared by several below
    components:                          # programs on nodes, packed into a package
      NAME:
        version: 1.2.3
        package: example
        installs: {/usr/local/bin: [program]}
        download: {url: …, sha256: {amd64: …, arm64: …}, members: "bin/{binary}"}
        recipe: RECIPE                   # or the name of a shared one
    images:
      NAME: {version: …, ref: …, nodes: [control-plane, worker], binary: …, entrypoint: …,
             base: tools, recipe: RECIPE}
      OTHER:                             # with more than one program in it, beside the above
        arguments: [--verbose]
        environment: {NAME: value}
        more_recipes: [RECIPE]
        programs: {other: /usr/bin/other}
        files: {module: …, version: …, sum: …, places: {/data: data}, without: [Makefile]}
        links: {/usr/bin/another: other}
    files:
      NAME: {version: …, kind: chart, download: {url: …, sha256: {noarch: …}}}
      OTHER: {version: …, module: {module: …, version: …, sum: …, path: …, digest: …}}
    variables: {example_mode: fast}
    image_variables: {example_image: NAME}

``RECIPE`` has the fields of ``catalog.GoRecipe``; with ``source`` those of ``catalog.CRecipe``.
Text may hold ``{name}``, ``{version}``, ``{url}``, ``{arch}``, ``{binary}`` and ``{module}`` of the
entry that it belongs to, and the facts that the reader was given.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohmykube.cache.catalog import (
    ARCHITECTURES,
    EVERYWHERE,
    ArtifactSet,
    Component,
    CRecipe,
    DebianLayer,
    Download,
    FileSpec,
    Form,
    GoRecipe,
    ImageSpec,
    ModuleFile,
    ModuleTree,
    Signed,
)
from ohmykube.kit import plain_yaml
from ohmykube.model.addon import Requirements
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.cache.catalog import Recipe

DATA = Path(__file__).parent / "data"
_TUPLES = ("kernel", "libraries", "programs", "without")

Entry = dict[str, Any]


@functools.cache
def data(name: str) -> dict[str, Any]:
    """Return one file of ``data/``, read once."""
    document: dict[str, Any] = plain_yaml.load((DATA / f"{name}.yaml").read_text())
    return document


def read(path: Path, facts: Mapping[str, str] | None = None) -> ArtifactSet:
    """Return the set in a file.

    Args:
        path: the file.
        facts: what its text may name besides its own entries.

    Raises:
        KeyError, TypeError, ValueError: it is not written as above.
    """
    return parse(plain_yaml.load(path.read_text()), facts)


def parse(document: Mapping[str, Any], facts: Mapping[str, str] | None = None) -> ArtifactSet:
    """Return the set of a document that was read already; raises as ``read``."""
    left = dict(document)
    known = dict(facts or {})
    version = str(left.pop("version", known.get("version", "")))
    known |= {"version": version}
    shared = {name: _recipe(entry, known) for name, entry in left.pop("recipes", {}).items()}
    entries = {
        part: [(name, dict(entry)) for name, entry in left.pop(part, {}).items()]
        for part in ("components", "images", "files")
    }
    return ArtifactSet(
        version=version,
        components=tuple(_component(n, e, known, shared) for n, e in entries["components"]),
        images=tuple(_image(n, e, known, shared) for n, e in entries["images"]),
        files=tuple(_file(n, e, known) for n, e in entries["files"]),
        variables=_filled(left.pop("variables", {}), known),
        requires=Requirements(**_fields(left.pop("requires", {}))),
        end_of_life=str(left.pop("end_of_life", "")),
        **left,
    )


def _filled(value: Any, facts: Mapping[str, str]) -> Any:
    """Return a value with the facts put into its texts."""
    match value:
        case str():
            return value.format_map(facts)
        case dict():
            return {_filled(key, facts): _filled(inner, facts) for key, inner in value.items()}
        case list():
            return [_filled(inner, facts) for inner in value]
    return value


def _fields(entry: Mapping[str, Any]) -> Entry:
    return {key: tuple(value) if key in _TUPLES else value for key, value in entry.items()}


def _own(name: str, entry: Entry, facts: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the version of an entry, and what its text may name."""
    here = {**facts, "name": name}
    version = str(entry.pop("version", here["version"])).format_map(here)
    return version, {**here, "version": version}


def _component(
    name: str, entry: Entry, facts: Mapping[str, str], shared: Mapping[str, Recipe | None]
) -> Component:
    version, here = _own(name, entry, facts)
    installs = {
        binary: f"{directory}/{binary}"
        for directory, binaries in _filled(entry.pop("installs"), here).items()
        for binary in binaries
    }
    download = entry.pop("download")
    recipe = _used(entry.pop("recipe", None), here, shared, tuple(installs))
    return Component(
        name=name,
        version=version,
        role=entry.pop("package"),
        installs=installs,
        downloads={
            arch: _download(download, {**here, "arch": arch}, tuple(installs))
            for arch in ARCHITECTURES
        },
        recipe=recipe if isinstance(recipe, GoRecipe) else None,
        **entry,
    )


def _download(entry: Entry, facts: Mapping[str, str], binaries: tuple[str, ...]) -> Download:
    left = dict(entry)
    url = left.pop("url").format_map(facts)
    here = {**facts, "url": url}
    arch, name = facts["arch"], facts["name"]
    digest = left.pop("sha256", {}).get(arch) or facts.get(f"sha256 {arch} {name}", "")
    signed = left.pop("signed", None)
    pattern = left.pop("members", "")
    return Download(
        url=url,
        digest=f"sha256:{digest}" if digest else "",
        sums=left.pop("sums", "").format_map(here),
        signed=_signed(_filled(signed, here)) if signed else None,
        members={
            pattern.format_map({**here, "binary": binary}): binary
            for binary in (binaries if pattern else ())
        },
        **left,
    )


def _signed(entry: Entry) -> Signed:
    return Signed(form=Form(entry.pop("form")), **entry)


def _image(
    name: str, entry: Entry, facts: Mapping[str, str], shared: Mapping[str, Recipe | None]
) -> ImageSpec:
    version, here = _own(name, entry, facts)
    recipe = _used(entry.pop("recipe", None), here, shared, ())
    more = [_used(one, here, shared, ()) for one in entry.pop("more_recipes", ())]
    base, tree = entry.pop("base", None), entry.pop("files", None)
    arguments = tuple(_filled(entry.pop("arguments", []), here))
    spec = ImageSpec(
        name=name,
        version=version,
        node_roles=tuple(entry.pop("nodes", EVERYWHERE)),
        # What lacks one of its parts cannot be built.
        recipe=None if None in more else recipe,
        more_recipes=tuple(one for one in more if one is not None),
        arguments=arguments,
        files=ModuleTree(**_fields(_filled(tree, here))) if tree else None,
        base=layer(base) if base else None,
        **_filled(entry, here),
    )
    made = {binary for one in spec.recipes for binary in one.binaries}
    if spec.recipes and (strange := {spec.binary, *spec.programs} - made):
        raise ValueError(f"{name}: no recipe makes {', '.join(sorted(strange))}")
    return spec


def layer(name: str) -> DebianLayer:
    """Return a layer of ``data/layers.yaml``; raises KeyError."""
    facts = data("layers")[name]
    return DebianLayer(
        name=name,
        suite=facts["suite"],
        packages=tuple(facts["packages"]),
        keep=tuple(facts.get("keep", ())),
    )


def _file(name: str, entry: Entry, facts: Mapping[str, str]) -> FileSpec:
    version, here = _own(name, entry, facts)
    download, module = entry.pop("download", {"sha256": {}}), entry.pop("module", None)
    return FileSpec(
        name=name,
        version=version,
        kind=Kind(entry.pop("kind", Kind.FILE)),
        node_roles=tuple(entry.pop("nodes", ())),
        downloads={
            arch: _download(download, {**here, "arch": arch}, ()) for arch in download["sha256"]
        },
        module=ModuleFile(**_filled(module, here)) if module else None,
        **entry,
    )


def _used(
    wanted: Any,
    facts: Mapping[str, str],
    shared: Mapping[str, Recipe | None],
    binaries: tuple[str, ...],
) -> Recipe | None:
    if isinstance(wanted, str):
        return shared[wanted]
    return _recipe(wanted, facts, binaries) if wanted else None


def _recipe(
    entry: Mapping[str, Any], facts: Mapping[str, str], binaries: tuple[str, ...] = ()
) -> Recipe | None:
    """Return a recipe; None where the sum of its module is not known: that cannot be built."""
    left = dict(entry)
    if "source" in left:
        c = _filled(left, facts)
        return CRecipe(**c, expect=_expected(c["binary"], c["version"]))
    module, packages = left.pop("module"), left.pop("packages")
    here = {**facts, "module": module}
    whole = facts["version"]
    version = str(left.pop("version", f"v{whole.removeprefix('v')}")).format_map(here)
    if isinstance(packages, str):
        packages = {one: packages.format_map({**here, "binary": one}) for one in binaries}
    filled = _fields(_filled(left, here))
    if not filled["sum"]:
        return None
    return GoRecipe(
        module=module,
        version=version,
        packages=_filled(packages, here),
        **{"expect": _expected(module, version), **filled},
    )


def _expected(module: str, version: str) -> dict[str, dict[str, str]]:
    known: dict[str, dict[str, str]] = data("expected").get(f"{module}@{version}", {})
    return known
