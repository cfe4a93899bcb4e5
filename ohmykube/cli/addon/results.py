"""Results of the commands on add-ons, as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from ohmykube.cli._output import document
from ohmykube.cli.cluster.change_results import PlannedChange, changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.model.addon import AddonFacts
    from ohmykube.model.cluster import WantedAddon
    from ohmykube.workflows.addons import Info, Values
    from ohmykube.workflows.up_values import UpResult


class AddonItem(TypedDict):
    """One add-on; ``versions`` with the preferred one first."""

    name: str
    summary: str
    versions: list[str]
    provides: list[str]


class AddonList(TypedDict):
    """``ohmykube addon list``."""

    items: list[AddonItem]


class AddonRequirements(TypedDict):
    """What a cluster must be like; empty or 0 for anything. ``memory`` in MiB, of each node."""

    oldestKubernetes: str
    newestKubernetes: str
    kernel: list[str]
    memory: int
    disks: int


class AddonArtifact(TypedDict):
    """One artifact: ``image``, ``package``, ``file`` or ``chart``."""

    kind: str
    name: str
    version: str


class AddonInfo(TypedDict):
    """``ohmykube addon info``; ``values`` is a JSON schema, null when it takes none."""

    name: str
    summary: str
    version: str
    versions: list[str]
    provides: list[str]
    needs: list[str]
    conflicts: list[str]
    namespace: str
    role: str
    requirements: AddonRequirements
    endOfLife: str
    artifacts: list[AddonArtifact]
    owns: list[str]
    values: Any


class InstalledAddon(TypedDict):
    """An add-on of a cluster."""

    name: str
    version: str


class AddonsChanged(TypedDict):
    """``ohmykube addon install``, ``upgrade`` and ``remove``."""

    cluster: str
    changed: bool
    changes: list[PlannedChange]
    """What was to be done."""
    addons: list[InstalledAddon]
    """What the cluster has now, besides its pod network."""


class AddonValues(TypedDict):
    """``ohmykube addon values``; ``values`` is a mapping."""

    cluster: str
    name: str
    version: str
    values: Any


KINDS: dict[str, type] = {
    "AddonList": AddonList,
    "AddonInfo": AddonInfo,
    "AddonsChanged": AddonsChanged,
    "AddonValues": AddonValues,
}
"""Document kinds by name."""


def addons(found: Sequence[AddonFacts]) -> dict[str, Any]:
    """Return the document of ``list``."""
    items = [
        AddonItem(
            name=facts.name,
            summary=facts.summary,
            versions=list(facts.versions),
            provides=list(facts.provides),
        )
        for facts in found
    ]
    return document("AddonList", {"items": items})


def artifacts(found: Info) -> list[AddonArtifact]:
    """Return what an add-on fetches, in the order of its set."""
    one = found.artifacts
    told = [("image", image.ref, image.version) for image in one.images]
    told += [("package", part.name, part.version) for part in one.components]
    told += [(file.kind.value, file.name, file.version) for file in one.files]
    return [AddonArtifact(kind=kind, name=name, version=version) for kind, name, version in told]


def info(found: Info) -> dict[str, Any]:
    """Return the document of ``info``."""
    facts, requires = found.facts, found.artifacts.requires
    content = AddonInfo(
        name=facts.name,
        summary=facts.summary,
        version=found.version,
        versions=list(facts.versions),
        provides=list(facts.provides),
        needs=list(facts.needs),
        conflicts=list(facts.conflicts),
        namespace=facts.namespace,
        role=facts.role,
        requirements=AddonRequirements(
            oldestKubernetes=requires.oldest_kubernetes,
            newestKubernetes=requires.newest_kubernetes,
            kernel=list(requires.kernel),
            memory=requires.memory_mib,
            disks=requires.disks,
        ),
        endOfLife=found.artifacts.end_of_life,
        artifacts=artifacts(found),
        owns=list(facts.owns),
        values=facts.values.model_json_schema() if facts.values is not None else None,
    )
    return document("AddonInfo", content)


def changed(result: UpResult, addons: Sequence[WantedAddon]) -> dict[str, Any]:
    """Return what was done to the add-ons of a cluster, and which it has now."""
    content = {
        "cluster": result.cluster,
        "changed": result.changed,
        "changes": changes(result.plan),
        "addons": [InstalledAddon(name=one.name, version=one.version) for one in addons],
    }
    return document("AddonsChanged", content)


def values(cluster: str, name: str, found: Values) -> dict[str, Any]:
    """Return the values of an add-on of a cluster."""
    content = AddonValues(cluster=cluster, name=name, version=found.version, values=found.values)
    return document("AddonValues", content)
