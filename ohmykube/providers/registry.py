"""Providers by name, through the entry-point group ``ohmykube.providers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import PrerequisiteError
from ohmykube.kit import entrypoints
from ohmykube.providers.base import CheckStatus, Provider, doctor_command

if TYPE_CHECKING:
    from ohmykube.providers.base import Check, ProviderContext

GROUP = "ohmykube.providers"
AUTO = "auto"
AUTO_ORDER = ("lima", "nspawn")
"""What ``auto`` tries, first that can work wins; ``ssh`` needs hosts and is never guessed."""


def names() -> tuple[str, ...]:
    """Return the names of all installed providers."""
    return entrypoints.names(GROUP)


def load(name: str, context: ProviderContext) -> Provider:
    """Make the provider called ``name``, or for ``auto`` the first that can work here.

    When none can, the first that could work offline.

    Raises:
        NotFoundError: no such provider.
        PrerequisiteError: it cannot be loaded, or ``auto`` found none that can work.
    """
    if name != AUTO:
        return _make(name, context)
    reasons = []
    failed_checks: list[Check] = []
    offline_only = None
    for candidate in AUTO_ORDER:
        if candidate not in names():
            continue
        provider = _make(candidate, context)
        failed = [c for c in provider.check() if c.status is CheckStatus.FAIL]
        if not failed:
            return provider
        if offline_only is None and all(check.for_network for check in failed):
            offline_only = provider
        failed_checks += failed
        reasons.append(f"{candidate}: " + "; ".join(c.evidence or c.title for c in failed))
    if offline_only is not None:  # whether that is enough is for the run's preflight to say
        return offline_only
    raise PrerequisiteError(
        "no provider can make machines on this host",
        why="\n".join(reasons) or "none is installed",
        hint=doctor_command(AUTO, failed_checks),
    )


def _make(name: str, context: ProviderContext) -> Provider:
    loaded = entrypoints.load(GROUP, name, "provider")
    if not (isinstance(loaded, type) and issubclass(loaded, Provider)):
        raise PrerequisiteError(f'plugin "{name}" is not a Provider', why=f"it is {loaded!r}")
    return loaded(context)
