"""Metrics server: what nodes and pods use, for people and autoscalers."""

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

    resolution: Annotated[
        int,
        Field(ge=10, le=3600, description="Seconds between two looks at each kubelet."),
    ] = 15
    verify_kubelets: Annotated[
        bool,
        Field(
            alias="verifyKubelets",
            description="Refuse kubelets whose certificate the cluster did not sign.",
        ),
    ] = False


class MetricsServer(Addon):
    """What ``kubectl top`` and the HorizontalPodAutoscaler ask."""

    facts = AddonFacts(
        name="metrics-server",
        summary="use of nodes and pods, for kubectl top and autoscalers",
        role="ohmykube.cluster.metrics_server",
        versions=("0.9.0",),
        provides=("metrics.k8s.io",),
        readiness=("kube-system/deployment/metrics-server",),
        removal={"metrics_server_state": "absent"},
        values=Values,
    )

    def set(self, version: str) -> ArtifactSet:
        """Return its image."""
        return _set()

    def variables(self, cluster: Cluster, wanted: WantedAddon) -> Mapping[str, object]:
        """Return how often kubelets are asked, and which are believed."""
        values = Values.model_validate(dict(wanted.values))
        return {
            "metrics_server_resolution": values.resolution,
            "metrics_server_verify_kubelets": values.verify_kubelets,
        }
