"""The use-cases on templates, played: two templates, of which one is old."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError
from ohmykube.providers.base import Template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.model.cluster import Cluster
    from ohmykube.steps.context import Services
    from ohmykube.workflows.templates import Built

NEW = Template(
    key="605eff5f8c237684",
    role="control-plane",
    summary="kubernetes 1.36.3",
    created_at=1_700_000_000.0,
    last_used_at=1_700_000_100.0,
    size=943_718_400,
)
OLD = Template(
    key="9c985773d5656f37",
    role="control-plane",
    summary="kubernetes 1.36.2",
    created_at=1_600_000_000.0,
    last_used_at=1_600_000_000.0,
    size=104_857_600,
)


class FakeTemplates:
    """Remembers what was asked for."""

    def __init__(self) -> None:
        self.there = [NEW, OLD]
        self.clusters: list[Cluster] = []
        self.pruned: list[dict[str, object]] = []
        self.providers: list[str] = []

    def list_templates(self, services: Services, provider: str) -> tuple[Template, ...]:
        """Return all."""
        self.providers.append(provider)
        return tuple(self.there)

    def build(self, services: Services, cluster: Cluster) -> Built:
        """Return the new one."""
        from ohmykube.workflows.templates import Built

        self.clusters.append(cluster)
        made = (NEW.key,) if len(self.clusters) == 1 else ()
        return Built(templates=(NEW,), made=made, seconds=12.34)

    def prune(
        self,
        services: Services,
        provider: str,
        *,
        keep: int,
        max_bytes: int | None,
        dry_run: bool,
    ) -> tuple[Template, ...]:
        """Remove all but the first ``keep``."""
        self.pruned.append({"keep": keep, "max_bytes": max_bytes, "dry_run": dry_run})
        gone = tuple(self.there[keep:])
        if not dry_run:
            del self.there[keep:]
        return gone

    def select(
        self, services: Services, provider: str, words: Sequence[str]
    ) -> tuple[Template, ...]:
        """Return those that begin so."""
        found = tuple(t for t in self.there if any(t.key.startswith(word) for word in words))
        if not found:
            raise NotFoundError(f'no template "{words[0]}"', hint="ohmykube template list")
        return found

    def remove(self, services: Services, provider: str, chosen: Sequence[Template]) -> None:
        """Remove them."""
        self.there = [template for template in self.there if template not in chosen]
