"""What the commands on templates call; tests replace it."""

# Every import below is inside a method: a command pays for what it uses.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.model.cluster import Cluster
    from ohmykube.providers.base import Template
    from ohmykube.steps.base import Services
    from ohmykube.workflows.templates import Built


class TemplateWorkflows(Protocol):
    """The use-cases, with the signatures of ``ohmykube.workflows.templates``."""

    def list_templates(self, services: Services, provider: str) -> tuple[Template, ...]:
        """List what is there."""
        ...

    def build(self, services: Services, cluster: Cluster) -> Built:
        """Build what fits a cluster."""
        ...

    def prune(
        self,
        services: Services,
        provider: str,
        *,
        keep: int,
        max_bytes: int | None,
        dry_run: bool,
    ) -> tuple[Template, ...]:
        """Remove what was not used for longest."""
        ...

    def select(
        self, services: Services, provider: str, words: Sequence[str]
    ) -> tuple[Template, ...]:
        """Return what ``remove`` is to remove."""
        ...

    def remove(self, services: Services, provider: str, chosen: Sequence[Template]) -> None:
        """Remove templates."""
        ...


class RealTemplateWorkflows:
    """The product's own."""

    def list_templates(self, services: Services, provider: str) -> tuple[Template, ...]:
        """See ``workflows.templates``."""
        from ohmykube.workflows import templates

        return templates.list_templates(services, provider)

    def build(self, services: Services, cluster: Cluster) -> Built:
        """See ``workflows.templates``."""
        from ohmykube.workflows import templates

        return templates.build(services, cluster)

    def prune(
        self,
        services: Services,
        provider: str,
        *,
        keep: int,
        max_bytes: int | None,
        dry_run: bool,
    ) -> tuple[Template, ...]:
        """See ``workflows.templates``."""
        from ohmykube.workflows import templates

        return templates.prune(services, provider, keep=keep, max_bytes=max_bytes, dry_run=dry_run)

    def select(
        self, services: Services, provider: str, words: Sequence[str]
    ) -> tuple[Template, ...]:
        """See ``workflows.templates``."""
        from ohmykube.workflows import templates

        return templates.select(services, provider, words)

    def remove(self, services: Services, provider: str, chosen: Sequence[Template]) -> None:
        """See ``workflows.templates``."""
        from ohmykube.workflows import templates

        templates.remove(services, provider, chosen)
