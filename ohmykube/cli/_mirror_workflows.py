"""What ``cache serve`` calls; tests replace it."""

# Every import below is inside a method: a command pays for what it uses.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.progress import Message
    from ohmykube.steps.base import Services
    from ohmykube.workflows.serve import ServeOptions, ServeResult


class MirrorWorkflows(Protocol):
    """The use-cases, with the signatures of ``ohmykube.workflows.serve``."""

    def serve(
        self,
        services: Services,
        options: ServeOptions,
        follow: Callable[[Message], None] | None = None,
    ) -> ServeResult:
        """Serve until asked to stop."""
        ...


class RealMirrorWorkflows:
    """The product's own."""

    def serve(
        self,
        services: Services,
        options: ServeOptions,
        follow: Callable[[Message], None] | None = None,
    ) -> ServeResult:
        """See ``workflows.serve``."""
        from ohmykube.workflows import serve

        return serve.serve(services, options, follow)
