"""Locks of artifacts for tests: one set, of one architecture unless more are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.model.artifact import ArtifactLock, Kind, LockedArtifact, LockedSet, PackageRole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def of(
    artifacts: Iterable[LockedArtifact] = (),
    *,
    arch: str = "amd64",
    variables: Mapping[str, str] | None = None,
    version: str = "1.36.3",
) -> ArtifactLock:
    """Return a lock of these artifacts."""
    one = LockedSet(
        name="release", version=version, artifacts=tuple(artifacts), variables=variables or {}
    )
    return ArtifactLock(kubernetes_version=version, architectures=(arch,), sets=(one,))


def of_packages() -> ArtifactLock:
    """Return a lock of the packages of nodes alone."""
    return of(
        LockedArtifact(
            kind=Kind.PACKAGE,
            name=role.value,
            version="1",
            arch="amd64",
            digest="sha256:" + "0" * 64,
            size=1,
            source="build",
        )
        for role in PackageRole
    )
