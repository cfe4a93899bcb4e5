"""What was found of a cluster when it was looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ohmykube.model.machine import Resizing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.model.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The machines of a cluster, and how far Kubernetes is on them."""

    machines: Mapping[str, Machine] = field(default_factory=dict)
    """By node name; those too that the description does not have."""
    begun: frozenset[str] = frozenset()
    """Nodes on which kubeadm has begun to make or join the cluster."""
    joined: frozenset[str] = frozenset()
    """Those on which it has finished."""
    unfinished: bool = True
    """The last run did not end, or there is no record of any."""
    resizing: Resizing = field(default_factory=Resizing)
    """What the provider can change of machines that exist."""
