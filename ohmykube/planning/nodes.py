"""What the difference of one node means, for a node that exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.config.document import FIELD
from ohmykube.config.mutability import Mutability
from ohmykube.model.change import SIZES, ReconfigureNode, Refuse, UpdateSetting
from ohmykube.model.machine import MachineState, Resize
from ohmykube.planning import differences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.model.change import Change
    from ohmykube.model.cluster import Node
    from ohmykube.planning.differences import Difference
    from ohmykube.planning.observation import Observed

NEW_NODE = "a new node gets it: give the node another name in the file"


def compare(
    before: Node, after: Node, observed: Observed, way_out: str = NEW_NODE
) -> Iterator[Change | Refuse]:
    """Return what becomes of everything in which a recorded node differs from a desired one.

    Args:
        before: as it was recorded.
        after: as it is wanted.
        observed: what is there.
        way_out: what to do where the node must stay as it was made.
    """
    name = after.name
    if before.role is not after.role:
        if name in observed.begun:
            yield Refuse(
                node=name,
                field=f"spec.nodes.{FIELD[after.role]}",
                old=before.role.value,
                new=after.role.value,
                why="a node keeps its role",
                way_out=way_out,
            )
        return
    for found in differences.of_nodes(before, after):
        match found.path[-1]:
            case "taints":
                yield from _taints(before, after, found, observed)
            case field if field in SIZES:
                yield from _size(before, after, found, observed, way_out)
            case "mounts":
                yield from _mounts(after, found, observed)
            case "address":
                yield from _address(after, found, observed)
            case "nodeIP" if _ip_of(before) == _ip_of(after):
                pass  # it is named now, or no more
            case _:
                yield from _as_said(after, found, observed, way_out)


def _taints(
    before: Node, after: Node, found: Difference, observed: Observed
) -> Iterator[Change | Refuse]:
    old, new = [sorted(map(str, node.effective_taints)) for node in (before, after)]
    if after.name in observed.joined and old != new:
        yield ReconfigureNode(node=after.name, field=found.field, old=old, new=new)


def _size(
    before: Node, after: Node, found: Difference, observed: Observed, way_out: str
) -> Iterator[Change | Refuse]:
    machine = observed.machines.get(after.name)
    if machine is None:
        return
    size = found.path[-1]
    how = getattr(observed.resizing, size)
    if how is Resize.MEANINGLESS:
        yield _setting(after, found)
    elif refused := _refused_size(before, after, size, how, machine.state):
        why, instead = refused
        yield _refuse(after, found, why, instead or way_out)
    else:
        yield _reconfigure(after, found)


def _refused_size(
    before: Node, after: Node, size: str, how: Resize, state: MachineState
) -> tuple[str, str] | None:
    """Return why a size cannot change, and the way out if it is its own; None when it can."""
    if how is Resize.NEVER:
        return f"the provider does not change the {size} of a machine that exists", ""
    if size == "disk" and (before.disk_gib or 0) > (after.disk_gib or 0):
        return "a disk cannot become smaller", ""
    if size == "disk" and before.disk_gib is None:
        return "the size of the disk that the provider chose is not known", ""
    if how is Resize.ON_START and getattr(after, _ATTRIBUTES[size]) is None:
        return "the provider's own size is given to new machines only", ""
    if how is Resize.ON_START and state is MachineState.RUNNING:
        why = f"the {size} of a machine changes when it starts, and it runs"
        return why, "stop the cluster first: `ohmykube stop`, then `up` starts it with the new size"
    return None


_ATTRIBUTES = {"cpus": "cpus", "memory": "memory_mib", "disk": "disk_gib"}


def _mounts(after: Node, found: Difference, observed: Observed) -> Iterator[Change | Refuse]:
    machine = observed.machines.get(after.name)
    if machine is None:
        return
    if machine.state in (MachineState.STOPPED, MachineState.BROKEN):
        yield _reconfigure(after, found)
        return
    way_out = "stop the cluster first: `ohmykube stop`, then `up` starts it with the new mounts"
    yield _refuse(after, found, "mounts are made when a machine starts, and it runs", way_out)


def _address(after: Node, found: Difference, observed: Observed) -> Iterator[Refuse]:
    if after.name in observed.machines:
        why = "another address is another machine, and this one belongs to the cluster"
        yield _refuse(after, found, why, "give the new host a node name of its own")


def _as_said(
    after: Node, found: Difference, observed: Observed, way_out: str
) -> Iterator[Change | Refuse]:
    """Return what the field says; nothing for a node that has no value of it yet."""
    match found.mutability:
        case Mutability.SETTING:
            if after.name in observed.machines:
                yield _setting(after, found)
        case Mutability.LIVE | Mutability.NODE_BY_NODE:
            if after.name in observed.joined:
                yield _reconfigure(after, found)
        case _ if after.name in observed.begun:
            yield _refuse(after, found, "it is fixed when the node is made", way_out)
        case _:
            pass


def _ip_of(node: Node) -> str:
    return "" if node.host is None else node.host.node_ip or node.host.address


def _reconfigure(node: Node, found: Difference) -> ReconfigureNode:
    return ReconfigureNode(node=node.name, field=found.field, old=found.old, new=found.new)


def _setting(node: Node, found: Difference) -> UpdateSetting:
    return UpdateSetting(node=node.name, field=found.field, old=found.old, new=found.new)


def _refuse(node: Node, found: Difference, why: str, way_out: str) -> Refuse:
    return Refuse(
        node=node.name, field=found.field, old=found.old, new=found.new, why=why, way_out=way_out
    )
