"""Flannel: a pod network by vxlan or host routes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.addons.base import Addon
from ohmykube.cache import set_file
from ohmykube.model.addon import CNI, AddonFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.cache.catalog import ArtifactSet
    from ohmykube.model.cluster import Cluster, WantedAddon


@functools.cache
def _set() -> ArtifactSet:
    return set_file.read(Path(__file__).parent / "set.yaml")


class Flannel(Addon):
    """Set by ``spec.network``; it takes no values of its own."""

    facts = AddonFacts(
        name="flannel",
        summary="pod network by vxlan or host routes",
        role="ohmykube.cluster.flannel",
        versions=("0.26.7",),
        provides=(CNI,),
        readiness=("kube-flannel/daemonset/kube-flannel-ds",),
        removal={"flannel_state": "absent"},
    )

    def set(self, version: str) -> ArtifactSet:
        """Return its two images."""
        return _set()

    def variables(self, cluster: Cluster, wanted: WantedAddon) -> Mapping[str, object]:
        """Return its network and how packets travel."""
        network = cluster.network
        given = {} if network.mtu is None else {"flannel_mtu": network.mtu}
        return {
            **given,
            "flannel_network": network.pod_cidr,
            "flannel_backend": network.flannel_backend,
            "flannel_nftables": network.proxy_mode == "nftables",
        }
