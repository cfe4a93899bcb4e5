"""What the provider of a description says of its options, before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import PrerequisiteError
from ohmykube.planning.diff import ANY_PROVIDER
from ohmykube.progress import Message
from ohmykube.workflows import session

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster
    from ohmykube.steps.context import Services


def check_provider_options(services: Services, cluster: Cluster) -> None:
    """Let the provider judge its options, as it does in every run; changes nothing.

    Raises:
        ConfigError: they are wrong; ``problems`` has everything.
    """
    if cluster.provider == ANY_PROVIDER:  # has no options, which the description's check has seen
        return
    try:
        session.provider_of(services, cluster.provider, cluster)
    except PrerequisiteError as error:
        text = f"options of provider {cluster.provider} are not checked: {error.message}"
        services.reporter.emit(Message(text=text, level="warning"))
