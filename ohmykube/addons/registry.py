"""Add-ons by name, through the entry-point group ``ohmykube.addons``."""

from __future__ import annotations

from ohmykube.addons.base import Addon
from ohmykube.errors import NotFoundError, PrerequisiteError
from ohmykube.kit import entrypoints
from ohmykube.model.addon import GROUP


def names() -> tuple[str, ...]:
    """Return the names of all installed add-ons; imports none."""
    return entrypoints.names(GROUP)


def load(name: str) -> Addon:
    """Make the add-on called ``name``.

    Raises:
        NotFoundError: no such add-on.
        PrerequisiteError: it cannot be loaded.
    """
    loaded = entrypoints.load(GROUP, name, "add-on")
    if not (isinstance(loaded, type) and issubclass(loaded, Addon)):
        raise PrerequisiteError(
            f'plugin "{name}" is not an Addon',
            why=f"it is {loaded!r}",
            hint=f"tell whoever made it: the entry point in {GROUP} must be a subclass",
            id="OMK-H-310",
        )
    return loaded()


def version_of(addon: Addon, version: str | None) -> str:
    """Return a version of an add-on, the preferred one for None.

    Raises:
        NotFoundError: it has no such version.
    """
    known = addon.facts.versions
    if version is None:
        return known[0]
    if version not in known:
        raise NotFoundError(
            f"the add-on {addon.facts.name} has no version {version}",
            why=f"versions: {', '.join(known)}",
            hint=f"ohmykube addon info {addon.facts.name}",
            id="OMK-H-312",
        )
    return version
