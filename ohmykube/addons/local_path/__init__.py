"""Local path: volumes that are directories of the node on which their first pod runs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from ohmykube.addons.base import Addon
from ohmykube.cache import set_file
from ohmykube.model.addon import AddonFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.cache.catalog import ArtifactSet
    from ohmykube.model.cluster import Cluster, WantedAddon


@functools.cache
def _set() -> ArtifactSet:
    return set_file.read(Path(__file__).parent / "set.yaml")


class Values(BaseModel):
    """What can be set."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    path: Annotated[
        str,
        Field(
            pattern=r"^(/[\w.-]+){2,}$",
            description="Directory of each node in which volumes are; not at the top.",
        ),
    ] = "/opt/local-path-provisioner"
    default_class: Annotated[
        bool,
        Field(alias="defaultClass", description="Claims that name no class get one of these."),
    ] = True


class LocalPath(Addon):
    """The simplest storage: a volume stays on its node, and is lost with it."""

    facts = AddonFacts(
        name="local-path",
        summary="volumes in a directory of their node, as the default class",
        role="ohmykube.cluster.local_path",
        versions=("0.0.30",),
        readiness=("local-path-storage/deployment/local-path-provisioner",),
        removal={"local_path_state": "absent"},
        owns=("the volumes of its class, on the disks of the nodes",),
        values=Values,
    )

    def set(self, version: str) -> ArtifactSet:
        """Return its image."""
        return _set()

    def variables(self, cluster: Cluster, wanted: WantedAddon) -> Mapping[str, object]:
        """Return where volumes are and how their class behaves."""
        values = Values.model_validate(dict(wanted.values))
        return {
            "local_path_directory": values.path,
            "local_path_default_class": values.default_class,
        }
