"""Add-ons that are installed on this host: which, and what each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.addons import registry
from ohmykube.errors import OhmykubeError
from ohmykube.progress import Message

if TYPE_CHECKING:
    from ohmykube.cache.catalog import ArtifactSet
    from ohmykube.model.addon import AddonFacts
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
