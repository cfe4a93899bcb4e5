"""What the commands on images need from the layers below; the real one imports when called."""

# Every import below is inside a method for the reason above.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.steps.base import Services
    from ohmykube.workflows.images import DeliveryResult, ImageList


class ImageWorkflows(Protocol):
    """The use-cases of ``ohmykube.workflows.images``."""

    def load(
        self,
        services: Services,
        name: str,
        sources: Sequence[str],
        *,
        origin: str,
        reference: str,
        nodes: Sequence[str],
    ) -> DeliveryResult:
        """Bring images of this host to the nodes."""
        ...

    def pull(
        self, services: Services, name: str, references: Sequence[str], *, nodes: Sequence[str]
    ) -> DeliveryResult:
        """Bring images of registries to the nodes."""
        ...

    def list_images(self, services: Services, name: str, *, nodes: Sequence[str]) -> ImageList:
        """Look which node has which image."""
        ...


class RealImageWorkflows:
    """The product's own."""

    def load(
        self,
        services: Services,
        name: str,
        sources: Sequence[str],
        *,
        origin: str,
        reference: str,
        nodes: Sequence[str],
    ) -> DeliveryResult:
        """See ``workflows.images``."""
        from ohmykube.steps.take_in import Origin
        from ohmykube.workflows import images

        options = images.LoadOptions(
            sources=tuple(sources),
            origin=Origin(origin),
            reference=reference,
            nodes=tuple(nodes),
        )
        return images.load(services, name, options)

    def pull(
        self, services: Services, name: str, references: Sequence[str], *, nodes: Sequence[str]
    ) -> DeliveryResult:
        """See ``workflows.images``."""
        from ohmykube.workflows import images

        return images.pull(services, name, references, nodes)

    def list_images(self, services: Services, name: str, *, nodes: Sequence[str]) -> ImageList:
        """See ``workflows.images``."""
        from ohmykube.workflows import images

        return images.list_images(services, name, nodes)
