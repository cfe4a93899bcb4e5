"""Remove templates, and what builds of them left."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ohmykube.errors import LockedError
from ohmykube.kit import files, locks
from ohmykube.model.cluster import Role
from ohmykube.providers.base import Templates
from ohmykube.state import layout
from ohmykube.steps.connect_nodes import disconnect

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.providers.base import Provider, Template
    from ohmykube.steps.context import Services


def lock_file(services: Services) -> Path:
    """Return the lock of whoever builds or removes templates."""
    return services.paths.data / layout.TEMPLATES_LOCK


def sweep(services: Services, provider: Provider) -> None:
    """Remove what a killed build left, unless another one is under way."""
    if isinstance(provider, Templates):
        with (
            contextlib.suppress(LockedError),
            locks.exclusive(lock_file(services), "the templates"),
        ):
            clean(services, provider)


def clean(services: Services, provider: Templates) -> None:
    """Remove what builds that did not end have made; for the holder of the lock."""
    directory = services.paths.state / layout.TEMPLATE_BUILD
    disconnect(directory)
    provider.sweep_templates()
    remove(directory)


def prune(
    provider: Templates, *, keep: int, max_bytes: int | None = None, dry_run: bool = False
) -> tuple[Template, ...]:
    """Remove the templates that were not used for longest; for the holder of the lock.

    Args:
        provider: whose.
        keep: how many of each role stay.
        max_bytes: how much those may take together.
        dry_run: remove nothing.

    Returns:
        What was removed, or would be.
    """
    left = dict.fromkeys(Role, keep)
    room = max_bytes
    gone = []
    for template in sorted(provider.templates(), key=lambda one: -one.last_used_at):
        role = Role(template.role)
        fits = room is None or template.size <= room
        if left[role] > 0 and fits:
            left[role] -= 1
            room = None if room is None else room - template.size
        else:
            gone.append(template)
    if not dry_run:
        for template in gone:
            provider.remove_template(template.key)
    return tuple(gone)


def remove(directory: Path) -> None:
    """Remove the directory of a build."""
    files.remove_tree(directory)
    layout.remove_control_directory(directory)
