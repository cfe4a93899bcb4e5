"""What ``up`` would do to a cluster: one type for each kind of change, and the plan of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ohmykube.model.cluster import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateNode:
    """Make the machine of a node, and the node."""

    node: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairNode:
    """Make a machine whole that is half made or half removed."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartNode:
    """Start a machine that is stopped."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachNode:
    """Reach a machine again that cannot be judged."""

    node: str
    problem: str
    """Why not, one line, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconfigureNode:
    """Bring another value of a field about on one node."""

    node: str
    field: str
    """Its path in ``cluster.yaml``, such as ``spec.nodes.workers.memory``."""
    old: Any
    """JSON data, as all values here; None when there was no value."""
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconfigureCluster:
    """Bring another value of a field about on the cluster as a whole."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureNode:
    """Let the roles bring a node to what they would make of it: something there is otherwise."""

    node: str
    reasons: tuple[str, ...]
    """What is otherwise, one line for each thing, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteNode:
    """Drain a node, take it out of the cluster and remove its machine, or reset a host."""

    node: str
    role: Role
    reason: str
    """Why, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallAddon:
    """Install an add-on."""

    addon: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeAddon:
    """Bring an add-on to another version, or to other values."""

    addon: str
    field: str
    """What differs of it, such as ``spec.addons.version``."""
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAddon:
    """Remove an add-on, with the data that it owns."""

    addon: str
    version: str
    owns: tuple[str, ...] = ()
    """What is lost with it, a phrase for each; nothing is when empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishRun:
    """Configure nodes whose last run did not end, or that no record describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSetting:
    """Use another value from now on; nothing of the cluster itself changes by it."""

    field: str
    old: Any
    new: Any
    node: str = ""
    """Whose field it is; empty for a field of the whole cluster."""


Change: TypeAlias = (
    CreateNode
    | RepairNode
    | StartNode
    | ReachNode
    | ReconfigureNode
    | ReconfigureCluster
    | ConfigureNode
    | InstallAddon
    | UpgradeAddon
    | RemoveAddon
    | FinishRun
    | DeleteNode
    | UpdateSetting
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """A difference that `up` does not bring about; nothing is done while there is one."""

    field: str
    old: Any
    new: Any
    why: str
    """Why not, as the end of a sentence that begins with the field."""
    way_out: str
    """What to do instead."""
    node: str = ""
    """Whose field it is; empty for a field of the whole cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything in which a cluster differs from its description."""

    changes: tuple[Change, ...] = ()
    """In the order in which they are done."""
    refusals: tuple[Refuse, ...] = ()

    @property
    def resizes(self) -> bool:
        """Tell whether a machine that exists gets another size."""
        return bool(self.resized)

    @property
    def resized(self) -> frozenset[str]:
        """Nodes whose machines exist and get another size."""
        return frozenset(
            one.node
            for one in self.changes
            if isinstance(one, ReconfigureNode) and one.field.rpartition(".")[2] in SIZES
        )

    @property
    def deletions(self) -> tuple[DeleteNode, ...]:
        """What destroys something: the nodes that go, in the order in which they do."""
        return tuple(one for one in self.changes if isinstance(one, DeleteNode))


SIZES = ("cpus", "memory", "disk")
"""Fields of a node that are sizes of its machine."""
