"""The go.mod of a build: what the component's own go.mod says, said by the main module.

Go obeys ``replace``, ``exclude`` and go.sum of the main module alone, and the main module of a
build is ours (https://go.dev/ref/mod#go-mod-file-replace). A component that relies on them is built
with them: every version is then named, its sum is in the component's go.sum, and the go client may
choose nothing. All others keep the short form, which gives the same versions, and whose binaries
are known by their digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ohmykube.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ohmykube.cache.catalog import GoRecipe

_UNVERSIONED = "v0.0.0"
_OLDEST = "1.16"
"""The release that Go takes a go.mod without a ``go`` line to be written for."""


@dataclass(frozen=True, slots=True)
class BuildModule:
    """The main module of a build."""

    go_mod: str
    own_versions: bool = False
    """The component's own lines are in it; its go.sum belongs beside it."""
    complete: bool = False
    """All sums are in the component's go.sum: nothing needs to be looked up."""


def build_module(recipe: GoRecipe, theirs: Mapping[str, Any], release: str) -> BuildModule:
    """Return the main module that ``recipe`` is built in.

    Args:
        recipe: of the component.
        theirs: the component's go.mod as ``go mod edit -json`` prints it.
        release: of Go, such as ``1.26.8``, for components without lines of their own.

    Raises:
        NetworkError: it needs a directory that its module does not hold; only another source may
            have it.
    """
    instead = _stated(recipe, theirs)
    released = _released(recipe, theirs, instead)
    versions = [r for r in theirs.get("Replace") or () if r["New"].get("Version")]
    own = bool(versions or theirs.get("Exclude") or recipe.replace)
    lines = ["module ohmykube.build/node"]
    lines.append(f"go {theirs.get('Go', _OLDEST) if own else release}")
    # Of all settings that only a main module's go.mod makes, these reach into the binary.
    lines += [f"godebug {d['Key']}={d['Value']}" for d in theirs.get("Godebug") or ()]
    lines.append(f"require {recipe.module} {recipe.version}")
    if own:
        lines += [f"require {r['Path']} {r['Version']}" for r in theirs.get("Require") or ()]
        lines += [f"exclude {e['Path']} {e['Version']}" for e in theirs.get("Exclude") or ()]
        lines += [_replace(r) for r in versions if r["Old"]["Path"] not in instead]
    lines += [f"replace {path} => {other}" for path, other in instead.items()]
    return BuildModule("\n".join(lines) + "\n", own, own and not (instead or released))


def _replace(line: Mapping[str, Any]) -> str:
    old = " ".join(part for part in (line["Old"]["Path"], line["Old"].get("Version")) if part)
    return f"replace {old} => {line['New']['Path']} {line['New']['Version']}"


def _stated(recipe: GoRecipe, theirs: Mapping[str, Any]) -> dict[str, str]:
    """Return what the recipe says is taken in place of a module: ``path version`` by path."""
    staging = {
        r["Path"]: f"{r['Path']} {recipe.staging}"
        for r in theirs.get("Require") or ()
        if recipe.staging and r["Version"] == _UNVERSIONED
    }
    return staging | {path: other.replace("@", " ") for path, other in recipe.replace.items()}


def _released(
    recipe: GoRecipe, theirs: Mapping[str, Any], instead: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the modules that are taken as they were released, not from a directory beside.

    A path in a ``replace`` line leads to another module, and no zip holds more than its own one.
    It names the same sources only where that module has been released together with this one.
    """
    released = []
    for path, version, directory in _directories(theirs):
        if path in instead:
            continue
        if version != recipe.version:
            raise NetworkError(
                f"{recipe.name} cannot be built from Go modules",
                why=f"its go.mod takes {path} from the directory {directory}, which is a module of "
                f"its own and not in this one; {version}, which it requires, was not released with "
                "it and may be older",
                hint=f"name the release of {path} to take in `replace` of the recipe, or use a "
                "source that has the finished binaries",
                id="OMK-I-208",
            )
        released.append(path)
    return tuple(released)


def _directories(theirs: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield module, required version and directory of what is required and replaced by one."""
    required = {r["Path"]: r["Version"] for r in theirs.get("Require") or ()}
    for line in theirs.get("Replace") or ():
        path, only = line["Old"]["Path"], line["Old"].get("Version")
        version = required.get(path)
        if version is not None and only in (None, version) and not line["New"].get("Version"):
            yield path, version, line["New"]["Path"]
