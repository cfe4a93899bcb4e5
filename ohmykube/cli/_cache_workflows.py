"""What the commands on the cache call; tests replace it."""

# Every import below is inside a method: a command pays for what it uses.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.cache.fsck import Finding, Rebuilt, Verified
    from ohmykube.cache.prune import Policy, Pruned
    from ohmykube.cache.signatures import Report
    from ohmykube.steps.base import Services
    from ohmykube.workflows.cache import Artifact, CacheStats, Removed


class CacheWorkflows(Protocol):
    """The use-cases, with the signatures of ``ohmykube.workflows.cache``."""

    def artifacts(self, services: Services, words: Sequence[str]) -> tuple[Artifact, ...]:
        """List what is there."""
        ...

    def stats(self, services: Services) -> CacheStats:
        """Return sizes and counters."""
        ...

    def verify(self, services: Services, words: Sequence[str], *, jobs: int | None) -> Verified:
        """Hash blobs again."""
        ...

    def verify_signatures(self, services: Services, words: Sequence[str]) -> tuple[Report, ...]:
        """Judge publishers' signatures again."""
        ...

    def check(self, services: Services) -> tuple[Finding, ...]:
        """Look whether the parts agree."""
        ...

    def rebuild(self, services: Services, *, jobs: int | None) -> Rebuilt:
        """Make the index and the lists anew."""
        ...

    def prune(self, services: Services, policy: Policy, *, dry_run: bool) -> Pruned:
        """Remove what is not needed."""
        ...

    def selected(
        self, services: Services, words: Sequence[str], *, every: bool
    ) -> tuple[Artifact, ...]:
        """Return what ``remove`` is to remove."""
        ...

    def remove(self, services: Services, found: Sequence[Artifact], *, dry_run: bool) -> Removed:
        """Remove references and the blobs that nothing else needs."""
        ...


class RealCacheWorkflows:
    """The product's own."""

    def artifacts(self, services: Services, words: Sequence[str]) -> tuple[Artifact, ...]:
        """See ``workflows.cache``."""
        from ohmykube.workflows import cache

        return cache.artifacts(services, words)

    def stats(self, services: Services) -> CacheStats:
        """See ``workflows.cache``."""
        from ohmykube.workflows import cache

        return cache.stats(services)

    def verify(self, services: Services, words: Sequence[str], *, jobs: int | None) -> Verified:
        """See ``workflows.cache``."""
        from ohmykube.workflows import cache

        return cache.verify(services, words, jobs=jobs)

    def verify_signatures(self, services: Services, words: Sequence[str]) -> tuple[Report, ...]:
        """See ``workflows.cache``."""
        from ohmykube.workflows import cache

        return cache.verify_signatures(services, words)

    def check(self, services: Services) -> tuple[Finding, ...]:
        """See ``workflows.cache``."""
        from ohmykube.workflows import cache

        return cache.check(services)

    def rebuild(self, services: Services, *, jobs: int | None) -> Rebuilt:
        """See ``workflows.cache``."""
        from ohmykube.workflows import cache

        return cache.rebuild(services, jobs=jobs)

    def prune(self, services: Services, policy: Policy, *, dry_run: bool) -> Pruned:
        """See ``workflows.cache``."""
        from ohmykube.workflows import cache

        return cache.prune_cache(services, policy, dry_run=dry_run)

    def selected(
        self, services: Services, words: Sequence[str], *, every: bool
    ) -> tuple[Artifact, ...]:
        """See ``workflows.cache``."""
        from ohmykube.workflows import cache

        return cache.selected(services, words, every=every)

    def remove(self, services: Services, found: Sequence[Artifact], *, dry_run: bool) -> Removed:
        """See ``workflows.cache``."""
        from ohmykube.workflows import cache

        return cache.remove(services, found, dry_run=dry_run)
