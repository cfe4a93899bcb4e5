"""Add-ons that are installed on this host: which, and what each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ohmykube.addons import registry, selection
from ohmykube.errors import NotFoundError, OhmykubeError
from ohmykube.kit import shell
from ohmykube.progress import Message

if TYPE_CHECKING:
    from ohmykube.cache.catalog import ArtifactSet
    from ohmykube.model.addon import AddonFacts
    from ohmykube.model.cluster import Cluster
    from ohmykube.steps.context import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """An add-on, and what it would fetch."""

    facts: AddonFacts
    version: str
    artifacts: ArtifactSet
    """Of that version."""


def list_addons(services: Services) -> tuple[AddonFacts, ...]:
    """Return what is told of all add-ons, by name; of one that cannot be loaded a warning is."""
    found = []
    for name in registry.names():
        try:
            found.append(registry.load(name).facts)
        except OhmykubeError as error:
            text = f"{error.message}: {error.why}"
            services.reporter.emit(Message(text=text, level="warning"))
    return tuple(found)


def info(_services: Services, name: str, version: str | None) -> Info:
    """Return an add-on in a version, or in the one that is preferred.

    Raises:
        NotFoundError: no such add-on, or it has no such version.
        PrerequisiteError: it cannot be loaded.
    """
    addon = registry.load(name)
    wanted = registry.version_of(addon, version)
    return Info(facts=addon.facts, version=wanted, artifacts=addon.set(wanted))


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The values of an add-on of a cluster."""

    version: str
    values: dict[str, Any]


def values(_services: Services, cluster: Cluster, name: str, *, defaults: bool) -> Values:
    """Return the values of an add-on as a cluster was described last.

    Args:
        cluster: as it was described.
        name: of the add-on.
        defaults: also those that nobody set.

    Raises:
        NotFoundError: no such add-on, or it is not in the cluster.
        PrerequisiteError: one of the cluster's cannot be loaded.
    """
    found = {one.wanted.name: one for one in selection.selected(cluster)}
    if name not in found:
        registry.load(name)
        raise NotFoundError(
            f'{name} is not in cluster "{cluster.name}"',
            why=f"add-ons there: {', '.join(found) or 'none'}",
            hint=f"ohmykube addon install {shell.word(name)} --name {cluster.name}",
            id="OMK-U-711",
        )
    wanted, schema = found[name].wanted, found[name].addon.facts.values
    content = dict(wanted.values)
    if defaults and schema is not None:
        content = schema.model_validate(content).model_dump(mode="json", by_alias=True)
    return Values(version=wanted.version, values=content)
