"""Names of clusters and of their nodes, from the records alone: quick, asks no machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError

if TYPE_CHECKING:
    from ohmykube.steps.context import Services


def clusters(services: Services) -> tuple[str, ...]:
    """Return the names of all clusters."""
    return services.state.names()


def unknown(services: Services, name: str) -> NotFoundError:
    """Return the error for a cluster that does not exist; names those that do."""
    known = ", ".join(services.state.names()) or "none"
    return NotFoundError(
        f'no cluster "{name}"', why=f"clusters here: {known}", hint="ohmykube list"
    )


def nodes(services: Services, cluster: str) -> tuple[str, ...]:
    """Return the names of a cluster's nodes; empty when there is no record of it.

    Raises:
        IntegrityError: the record is damaged.
    """
    from ohmykube.config.load import from_document  # noqa: PLC0415 - pydantic is slow to import

    record = services.state.read(cluster)
    if record is None:
        return ()
    return tuple(node.name for node in from_document(record.document).nodes)
