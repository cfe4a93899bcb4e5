"""Add-ons of a cluster file: looked up among those that are installed, and checked against them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from ohmykube.config.problems import closest, dotted, echo
from ohmykube.errors import OhmykubeError
from ohmykube.kit import entrypoints
from ohmykube.model.addon import CNI, GROUP
from ohmykube.model.cluster import NO_CNI, WantedAddon

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ohmykube.config import v1
    from ohmykube.config.problems import Path, Problem
    from ohmykube.config.yaml_source import Source
    from ohmykube.model.addon import AddonFacts, Described
    from ohmykube.model.cluster import Node

_ADDONS: Path = ("spec", "addons")
_CNI: Path = ("spec", "network", "cni")


def find(name: str) -> Described:
    """Return an installed add-on; raises NotFoundError or PrerequisiteError."""
    return cast("type[Described]", entrypoints.load(GROUP, name, "add-on"))()


def wanted(entries: Sequence[v1.Addon]) -> tuple[WantedAddon, ...]:
    """Return the add-ons of a checked document; a version that is not given is filled in."""
    return tuple(
        WantedAddon(
            name=entry.name,
            version=entry.version or find(entry.name).facts.versions[0],
            namespace=entry.namespace or "",
            values=entry.values,
        )
        for entry in entries
    )


def problems(
    spec: v1.Spec, nodes: Sequence[Node], source: Source, *, version_known: bool = True
) -> list[Problem]:
    """Return what is wrong with the add-ons of a document, and with its pod network's name.

    Args:
        spec: of the document.
        nodes: all of them.
        source: the document as it was written.
        version_known: its version of Kubernetes is one; else nothing is compared with it.
    """
    checker = _Checker(spec, nodes, source, version_known=version_known)
    checker.run()
    return checker.problems


def networks() -> tuple[str, ...]:
    """Return the names of the installed add-ons that are pod networks."""
    return tuple(name for name, facts in _installed() if CNI in facts.provides)


def _installed() -> Iterator[tuple[str, AddonFacts]]:
    """Return what can be loaded; what cannot is told of where it is asked for by name."""
    for name in entrypoints.names(GROUP):
        try:
            yield name, find(name).facts
        except OhmykubeError:
            continue


class _Checker:
    def __init__(
        self, spec: v1.Spec, nodes: Sequence[Node], source: Source, *, version_known: bool
    ) -> None:
        self._spec = spec
        self._version_known = version_known
        self._nodes = nodes
        self._source = source
        self.problems: list[Problem] = []

    def run(self) -> None:
        """Check each add-on for itself, and then all against each other."""
        found: dict[str, tuple[Path, AddonFacts]] = {}
        first: dict[str, int] = {}
        for index, entry in enumerate(self._spec.addons):
            path = (*_ADDONS, index)
            if first.setdefault(entry.name, index) != index:
                before = dotted((*_ADDONS, first[entry.name]))
                self._add(path, f"has the add-on {echo(entry.name)}, which {before} has already")
                continue
            addon = self._find(entry.name, (*path, "name"))
            if addon is not None:
                found[entry.name] = (path, addon.facts)
                self._one(entry, addon, path)
        self._network(found)
        for name, (path, facts) in found.items():
            self._among(name, path, facts, found)

    def _add(self, path: Path, text: str) -> None:
        self.problems.append(self._source.problem(path, text))

    def _choice(self, given: str, known: tuple[str, ...], path: Path) -> None:
        choice = ", ".join(f'"{word}"' for word in known[:-1])
        choice = f'{choice} or "{known[-1]}"' if choice else f'"{known[-1]}"'
        self._add(path, f"must be {choice}, got {echo(given)}{closest(given, known)}")

    def _find(self, name: str, path: Path) -> Described | None:
        known = entrypoints.names(GROUP)
        if name not in known:
            self._choice(name, known, path)
            return None
        try:
            return find(name)
        except OhmykubeError as error:
            self._add(path, f"{error.message}: {error.why}")
            return None

    def _network(self, found: dict[str, tuple[Path, AddonFacts]]) -> None:
        cni = self._spec.network.cni
        if cni != NO_CNI and cni not in found:
            addon = find(cni)
            found[cni] = (_CNI, addon.facts)
            self._requirements(addon, addon.facts.versions[0], _CNI)
        for name, (path, facts) in found.items():
            if CNI in facts.provides and name != cni:
                text = f"is a pod network: set spec.network.cni to {name} too, it is {cni}"
                self._add((*path, "name"), text)

    def _one(self, entry: v1.Addon, addon: Described, path: Path) -> None:
        facts = addon.facts
        version = entry.version or facts.versions[0]
        if version not in facts.versions:
            self._choice(version, facts.versions, (*path, "version"))
        else:
            self._requirements(addon, version, path)
        if entry.namespace and not facts.namespace:
            self._add((*path, "namespace"), f"has no effect: that of {entry.name} is fixed")
        self._values(entry.values, facts, (*path, "values"))

    def _requirements(self, addon: Described, version: str, path: Path) -> None:
        needs = addon.set(version).requires
        kubernetes, name = self._spec.kubernetes.version, addon.facts.name
        if self._version_known and not needs.fits(kubernetes):
            text = f"{name} {version} wants Kubernetes {needs.range}, and this is {kubernetes}"
            self._add(path, text)
        small = [n.name for n in self._nodes if n.memory_mib and n.memory_mib < needs.memory_mib]
        if small:
            text = f"{name} wants {needs.memory_mib} MiB of memory on each node; too small: "
            self._add(path, text + ", ".join(small))

    def _values(self, values: dict[str, Any], facts: AddonFacts, path: Path) -> None:
        if facts.values is None:
            if values:
                self._add(path, f"has no effect: {facts.name} takes no values")
            return
        try:
            facts.values.model_validate(values)
        except ValidationError as error:
            known = tuple(facts.values.model_json_schema().get("properties", {}))
            for detail in error.errors(include_url=False):
                loc, text = detail["loc"], f"is not right: {detail['msg']}"
                if detail["type"] == "extra_forbidden" and len(loc) == 1:
                    key = str(loc[0])
                    text = f"is none of its values: {', '.join(known)}{closest(key, known)}"
                self._add((*path, *loc), text)

    def _among(
        self, name: str, path: Path, facts: AddonFacts, found: dict[str, tuple[Path, AddonFacts]]
    ) -> None:
        for needed in facts.needs:
            if needed not in found:
                self._add(path, f"{name} needs the add-on {needed}: list it too")
        for other in facts.conflicts:
            if other in found:
                self._add(path, f"{name} does not work beside {other}: leave one of them out")
        for what in facts.provides:
            rivals = [one for one, (_, other) in found.items() if what in other.provides]
            if len(rivals) > 1 and what != CNI and rivals[0] == name:
                self._add(
                    path, f"a cluster has one {what} only, and these are: {', '.join(rivals)}"
                )
