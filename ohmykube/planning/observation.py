"""What was found of a cluster when it was looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ohmykube.model.machine import Resizing
from ohmykube.model.node_state import answering, api_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.model.machine import Machine
    from ohmykube.model.node_state import ApiNode, NodeState


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
    answers: Mapping[str, NodeState] = field(default_factory=dict)
    """By node name, of the nodes that were asked and answered."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why those that were asked and did not answer did not, by node name."""

    @property
    def control_plane(self) -> str:
        """The first control plane, by name, whose API server answered; empty when none did."""
        return answering(self.answers)

    @property
    def kubernetes(self) -> Mapping[str, ApiNode] | None:
        """The Node objects by name; None when no API server answered."""
        return api_nodes(self.answers)

    @property
    def changed_objects(self) -> tuple[str, ...]:
        """What of the objects that roles have applied is not as it was applied, for people.

        Who applied one last knows what it is to be; others may remember what it was before.
        """
        latest: dict[str, tuple[float, str]] = {}
        for answer in self.answers.values():
            for name, found in answer.objects.items():
                latest[name] = max(latest.get(name, (0.0, "")), (found.applied_at, found.problem))
        return tuple(problem for _, (_, problem) in sorted(latest.items()) if problem)
