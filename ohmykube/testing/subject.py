"""What the conformance suites are run on: a provider, and ways to look at it from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ohmykube.model.machine import Machine, MachineSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.model.exposure import ExposedPort
    from ohmykube.providers.base import Provider

Do = Callable[[str, str], None]
"""Does something to (cluster, node)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A provider under test, and how to look at it from outside."""

    open: Callable[[str], Provider]
    """Makes the provider for a cluster's name, anew at each call, as another process would."""
    cluster: str
    other: str
    """Name of a second cluster; must begin with ``cluster``."""
    nodes: tuple[str, str]
    """Two node names; both clusters have the first."""
    answers: Callable[[Machine], bool] = field(default=lambda _machine: True)
    """Looks without the provider whether the machine really runs."""
    damage: Do | None = None
    """Leaves the machine as a crash would: half of it there."""
    mark: Do | None = None
    """Leaves a mark on a running machine that its clones are to have."""
    marked: Callable[[str, str], bool] = field(default=lambda _cluster, _node: True)
    """Looks whether a running machine has the mark."""
    reached: Callable[[str, ExposedPort], bool] | None = None
    """Looks without the provider whether a port of a running machine answers at a place of this
    host, ``host:port``."""
    port: int = 80
    """A port at which its machines answer over TCP."""
    sizes: Callable[[str, str], tuple[float | None, int | None]] | None = None
    """Looks without the provider at the cores and the MiB of memory that a machine has."""
    read: Callable[[str, str, str], str] | None = None
    """Returns the text of a file, by its path, of a running machine; empty when it has none."""
    write: Callable[[str, str, str], bool] = field(default=lambda _cluster, _node, _path: False)
    """Writes ``written`` to a file of a running machine; tells whether that was possible."""


def spec_of(cluster: str, node: str) -> MachineSpec:
    """Return the wish for a small machine."""
    return MachineSpec(cluster=cluster, node=node, cpus=1, memory_mib=512)


def names_of(machines: Sequence[Machine]) -> list[str]:
    """Return the names of nodes in the order given."""
    return [machine.node for machine in machines]


def delete_all(subject: Subject) -> None:
    """Delete all machines of both clusters."""
    for cluster in (subject.cluster, subject.other):
        provider = subject.open(cluster)
        for machine in provider.list(cluster):
            provider.delete(cluster, machine.node)
