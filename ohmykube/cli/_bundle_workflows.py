"""What the commands on bundles call; tests replace it."""

# Every import below is inside a method: a command pays for what it uses.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.cache.bundle.import_bundle import Brought
    from ohmykube.cache.bundle.write import Form, Written
    from ohmykube.model.cluster import Cluster
    from ohmykube.steps.base import Services
    from ohmykube.workflows.bundle import Checked, CreateOptions


class BundleWorkflows(Protocol):
    """The use-cases, with the signatures of ``ohmykube.workflows.bundle``."""

    def create(self, services: Services, cluster: Cluster, options: CreateOptions) -> Written:
        """Write a bundle."""
        ...

    def inspect(self, path: Path) -> Checked:
        """Look into a bundle."""
        ...

    def verify(self, services: Services, path: Path, allowed: Path | None) -> Checked:
        """Check a bundle."""
        ...

    def import_(self, services: Services, path: Path, allowed: Path | None) -> Brought:
        """Copy a bundle into the cache."""
        ...

    def export(self, services: Services, names: Sequence[str], target: Path, form: Form) -> Written:
        """Write what the cache holds."""
        ...


class RealBundleWorkflows:
    """The product's own."""

    def create(self, services: Services, cluster: Cluster, options: CreateOptions) -> Written:
        """See ``workflows.bundle``."""
        from ohmykube.workflows import bundle

        return bundle.create(services, cluster, options)

    def inspect(self, path: Path) -> Checked:
        """See ``workflows.bundle``."""
        from ohmykube.workflows import bundle

        return bundle.inspect(path)

    def verify(self, services: Services, path: Path, allowed: Path | None) -> Checked:
        """See ``workflows.bundle``."""
        from ohmykube.workflows import bundle

        return bundle.verify(services, path, allowed)

    def import_(self, services: Services, path: Path, allowed: Path | None) -> Brought:
        """See ``workflows.bundle``."""
        from ohmykube.workflows import bundle

        return bundle.import_(services, path, allowed)

    def export(self, services: Services, names: Sequence[str], target: Path, form: Form) -> Written:
        """See ``workflows.bundle``."""
        from ohmykube.workflows import bundle

        return bundle.export(services, names, target, form)
