"""The form of ``spec.artifacts``: where this host gets components and images from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ohmykube.config.fields import Mirror, Registries, SourceName  # noqa: TC001 - pydantic reads them
from ohmykube.config.mutability import Mutability
from ohmykube.config.strict import Strict
from ohmykube.model.cluster import Sources

SETTING = Mutability.SETTING


class Artifacts(Strict):
    """Where components and images come from; the cache is always asked first."""

    sources: Annotated[list[SourceName], SETTING] = Field(
        default_factory=lambda: list(Sources().order),
        description="mirror, upstream, build or the names of installed plugins, in the order in "
        "which they are tried.",
        min_length=1,
        max_length=10,
    )
    mirror: Annotated[Mirror | None, SETTING] = Field(
        default=None, description="http(s) URL or absolute directory; this host asks it, not nodes."
    )
    registries: Annotated[Registries, SETTING] = Field(
        default={}, description="Registry to its mirrors, tried first by this host, not by nodes."
    )
