"""``doctor``: what this host has and lacks for ``up``; with ``fix`` it installs what is missing."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.cache.sources import base as sources
from ohmykube.cache.store import Store
from ohmykube.errors import OhmykubeError, PermissionDenied, PrerequisiteError
from ohmykube.kit import process
from ohmykube.model.cluster import Sources
from ohmykube.progress import Message
from ohmykube.providers import registry
from ohmykube.providers.base import Check, CheckStatus, doctor_command
from ohmykube.workflows import session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.providers.base import Provider
    from ohmykube.steps.context import Services

APT_SECONDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """All checks as they are at the end, and the packages that were installed."""

    checks: tuple[Check, ...]
    fixed: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """No check failed."""
        return all(check.status is not CheckStatus.FAIL for check in self.checks)


def doctor(services: Services, provider: str = "auto", *, fix: bool = False) -> DoctorReport:
    """Check this host; read-only unless ``fix``.

    Raises:
        PermissionDenied: ``fix`` without the right to install packages.
        PrerequisiteError: the packages could not be installed.
    """
    checks = _checks(services, provider)
    lacking = [check for check in checks if check.status is CheckStatus.FAIL]
    packages = tuple(sorted({name for check in lacking for name in check.packages}))
    if not fix or not packages:
        return DoctorReport(checks=checks, fixed=())
    _install(services, packages, again=doctor_command(provider, lacking))
    return DoctorReport(checks=_checks(services, provider), fixed=packages)


def _checks(services: Services, name: str) -> tuple[Check, ...]:
    return (*_provider(services, name).check(), *_source_checks(services))


def _source_checks(services: Services) -> tuple[Check, ...]:
    """Say which source can bring artifacts; what one lacks counts only when all others fail."""
    lacking: list[Check] = []
    reasons: list[str] = []
    for name in (n for n in Sources().order if n != "mirror"):
        source = sources.load(
            name,
            sources.SourceContext(
                store=Store(services.paths.cache),
                sources=Sources(),
                reporter=services.reporter,
                paths=services.paths,
            ),
        )
        unmet = [r for r in source.requirements() if not r.met]
        try:
            if not unmet:
                source.available()
                return (_source_check(CheckStatus.OK, f"from {name}"),)
        except OhmykubeError as error:
            reasons.append(f"{name}: {error.message}")
            continue
        reasons.append(f"{name}: " + ", ".join(r.evidence or r.title for r in unmet))
        lacking += [
            Check(
                id=r.id,
                title=r.title,
                status=CheckStatus.FAIL,
                evidence=r.evidence,
                fix="ohmykube doctor --fix" if r.packages else "",
                packages=r.packages,
            )
            for r in unmet
        ]
    # A warning only: whatever is in the cache already needs no source.
    return (*lacking, _source_check(CheckStatus.WARN, "; ".join(reasons)))


def _source_check(status: CheckStatus, evidence: str) -> Check:
    return Check(
        id="artifact-source", title="a source of artifacts", status=status, evidence=evidence
    )


def _provider(services: Services, name: str) -> Provider:
    # `auto` must be explained even when no provider can work: take the last one it would try.
    wanted = name if name != "auto" else _candidate()
    return session.provider_of(services, wanted, None)


def _candidate() -> str:
    known = [name for name in registry.AUTO_ORDER if name in registry.names()]
    # Lima refuses to work for root, and nspawn works for nobody else, nor on another system.
    for_root = sys.platform == "linux" and os.geteuid() == 0
    return known[-1] if for_root else known[0]


def _install(services: Services, packages: Sequence[str], again: str) -> None:
    if process.which("apt-get") is None:
        raise PrerequisiteError(
            "packages can only be installed with apt-get here",
            why=f"wanted: {' '.join(packages)}",
            hint="install them with the system's own package manager",
            id="OMK-H-021",
        )
    if os.geteuid() != 0:
        raise PermissionDenied(
            "installing packages needs root",
            why=f"wanted: {' '.join(packages)}",
            hint=f"sudo {again}",
            id="OMK-H-022",
        )
    services.reporter.emit(Message(text=f"Installing {' '.join(packages)}"))
    env = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"}
    lock = ("-o", "DPkg::Lock::Timeout=300", "-qq")
    try:
        process.run(["apt-get", *lock, "update"], timeout=APT_SECONDS, env=env)
        install = ["apt-get", *lock, "install", "-y", "--no-install-recommends", *packages]
        process.run(install, timeout=APT_SECONDS, env=env)
    except process.CommandFailed as error:
        raise PrerequisiteError(
            "the packages could not be installed",
            why=error.why,
            hint=f"apt-get install {' '.join(packages)}",
            id="OMK-H-023",
        ) from error
