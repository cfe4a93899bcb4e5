"""What a machine really is: judged from limactl, the host agent's events, the network and ssh.

limactl's "Running" means that two processes live. Whether the guest came up stands in the events,
whether its network is alive only the network's daemon knows, and whether it answers only the guest.
"""

from __future__ import annotations

import contextlib
import enum
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.model.machine import MachineState
from ohmykube.providers.lima import events, marker, records
from ohmykube.providers.lima.lima_yaml import GIB, MIB, Shape
from ohmykube.providers.lima.limactl_output import Status
from ohmykube.providers.lima.network import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.providers.lima.lima_home import Home
    from ohmykube.providers.lima.limactl_output import Instance
    from ohmykube.providers.lima.marker import Marker
    from ohmykube.providers.lima.network import Networks

ANSWER_SECONDS = 5.0


class State(enum.Enum):
    """What a machine is, and what ``repair`` does about it."""

    ABSENT = "absent"
    FOREIGN = "foreign"
    """Of that name, and not ours: never touched."""
    CREATING = "creating"
    """Its first start was not seen to its end."""
    STOPPED = "stopped"
    BOOTING = "booting"
    READY = "ready"
    DEGRADED = "degraded"
    """Up, and something that it needs did not come."""
    BROKEN = "broken"
    """Its host agent died or hangs."""
    NETDEAD = "netdead"
    """It runs, and the daemon of its network does not know it, or gave it another address."""
    SILENT = "silent"
    """All seems well, and its ssh does not answer."""


class Repair(enum.Enum):
    """How a machine is brought to READY from where it is."""

    NOTHING = "nothing"
    CREATE = "create"
    REFUSE = "refuse"
    START = "start"
    WAIT = "wait"
    """Wait a while; then as RESTART."""
    RESTART = "restart"
    """Stop, orderly first; then start."""
    RESET = "reset"
    """End its processes; then start."""


REPAIRS = {
    State.ABSENT: Repair.CREATE,
    State.FOREIGN: Repair.REFUSE,
    State.CREATING: Repair.RESET,
    State.STOPPED: Repair.START,
    State.BOOTING: Repair.WAIT,
    State.READY: Repair.NOTHING,
    State.DEGRADED: Repair.RESTART,
    State.BROKEN: Repair.RESET,
    State.NETDEAD: Repair.RESET,
    State.SILENT: Repair.WAIT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was seen of one machine."""

    state: State
    marker: Marker | None = None
    """Ours; None for an absent or foreign one."""
    instance: Instance | None = None
    """As limactl lists it; None when it does not."""
    address: str = ""
    """Its address in the cluster, as far as it is known."""
    ssh_port: int = 0
    """Where its ssh answers on 127.0.0.1; 0 when it does not."""
    why: str = ""

    @property
    def machine_state(self) -> MachineState:
        """The state as all providers tell it."""
        return {State.READY: MachineState.RUNNING, State.STOPPED: MachineState.STOPPED}.get(
            self.state, MachineState.BROKEN
        )


def has_ssh_banner(host: str, port: int, timeout: float = ANSWER_SECONDS) -> bool:
    """Tell whether an ssh server sends its banner; a busy guest may before it lets us log in."""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.settimeout(timeout)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


class Inspector:
    """Finds out the state of machines of one home; changes nothing.

    Args:
        home: where they are.
        networks: of that home.
        answers: whether ssh answers at a host and port.
    """

    def __init__(
        self, home: Home, networks: Networks, answers: Callable[[str, int], bool] = has_ssh_banner
    ) -> None:
        self._home = home
        self._networks = networks
        self._answers = answers

    def inspect(self, name: str, instance: Instance | None) -> Inspection:
        """Return the state of an instance; ``instance`` is its entry in limactl's list."""
        whose = marker.owner(self._home, name)
        if whose is None:
            # A link, or a file, in our place is not ours either.
            there = self._home.directory(name)
            state = State.FOREIGN if there.exists() or there.is_symlink() else State.ABSENT
            return Inspection(state=state, instance=instance)
        if instance is None:
            why = "its directory is there, and limactl does not list it"
            return Inspection(state=State.CREATING, marker=whose, address=whose.address, why=why)
        state, why = self.inspect_processes(whose, instance)
        if state is not State.READY:
            return Inspection(
                state=state, marker=whose, instance=instance, address=whose.address, why=why
            )
        return self._inspect_network(whose, instance)

    def inspect_processes(self, whose: Marker, instance: Instance) -> tuple[State, str]:
        """Judge by its processes alone: READY means that they are all well."""
        if not whose.complete:
            return State.CREATING, "its first start did not come to its end"
        if instance.status is Status.STOPPED:
            return State.STOPPED, ""
        if instance.status is not Status.RUNNING:
            return State.BROKEN, f"limactl calls it {instance.status.value or 'nothing'}"
        return _inspect_events(self._home, instance)

    def _inspect_network(self, whose: Marker, instance: Instance) -> Inspection:
        def found(state: State, why: str, port: int = 0) -> Inspection:
            return Inspection(
                state=state,
                marker=whose,
                instance=instance,
                address=whose.address,
                ssh_port=port,
                why=why,
            )

        try:
            record = records.read(self._home, whose.cluster)
            if record is None:
                return found(State.NETDEAD, "the record of its network is gone")
            address = self._networks.address_of(record, instance.ssh_port)
        except OhmykubeError as error:
            return found(State.NETDEAD, error.message)
        if not address:
            return found(State.NETDEAD, "the daemon of its network does not know it")
        if address != whose.address:
            return found(State.NETDEAD, f"its address is {address}, and was {whose.address}")
        if not self._answers(LOOPBACK, instance.ssh_port):
            return found(State.SILENT, f"ssh does not answer at {LOOPBACK}:{instance.ssh_port}")
        lasting = record.endpoints.get(f"{address}:22", 0)
        return found(State.READY, "", self._port(lasting, record, instance))

    def _port(self, lasting: int, record: records.ClusterRecord, instance: Instance) -> int:
        """Return the lasting port if the daemon carries it, else the one of this start."""
        with contextlib.suppress(OhmykubeError):
            if lasting and self._networks.address_of(record, lasting):
                return lasting
        return instance.ssh_port


def _inspect_events(home: Home, instance: Instance) -> tuple[State, str]:
    event = events.last(home.directory(instance.name))
    if event is None or not (event.running or event.exiting or event.degraded):
        return State.BOOTING, "; ".join(event.errors) if event else ""
    if event.exiting:
        return State.BROKEN, "its host agent is ending"
    if event.degraded:
        return State.DEGRADED, "; ".join(event.errors) or "a requirement of the guest was not met"
    return State.READY, ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A size that is not the desired one, in the unit of ``Shape``."""

    field: str
    made: int
    wanted: int

    @property
    def shrinks(self) -> bool:
        """A smaller disk would lose what is on it."""
        return self.field == "disk_gib" and self.wanted < self.made

    def __str__(self) -> str:
        name, _, unit = self.field.partition("_")
        unit = {"mib": " MiB", "gib": " GiB", "": ""}[unit]
        return f"{name} {self.made}{unit}, not {self.wanted}{unit}"


def drift(instance: Instance, shape: Shape) -> tuple[Drift, ...]:
    """Return in what an instance differs from the shape that it is to have."""
    pairs = (
        ("cpus", instance.cpus, shape.cpus),
        ("memory_mib", instance.memory // MIB, shape.memory_mib),
        ("disk_gib", instance.disk // GIB, shape.disk_gib),
    )
    return tuple(
        Drift(field=field, made=made, wanted=wanted)
        for field, made, wanted in pairs
        if wanted is not None and made != wanted
    )
