"""Machines as a provider sees them, and how to reach one."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from ohmykube.model.cluster import Mount


class MachineState(enum.StrEnum):
    """What the provider finds when it looks."""

    RUNNING = "running"
    STOPPED = "stopped"
    BROKEN = "broken"
    """Half made or half removed: ``create`` makes it whole, ``delete`` removes it."""
    UNKNOWN = "unknown"
    """It belongs to the cluster and cannot be judged; ``Machine.problem`` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTarget:
    """Everything that ``ssh`` needs; each field becomes an option of its own, never shell text."""

    address: str
    """Address or name for ssh; also the name under which the host key is looked up."""
    user: str
    port: int = 22
    identity_file: Path | None = None
    known_hosts: Path | None = None
    """Only its keys are trusted; None uses the user's own file. Checking is always strict."""
    ephemeral_host_key: bool = False
    """Its host key is another one after each boot and means nothing: none is checked. Only for a
    machine of this host, reached without leaving it."""
    on_this_host: bool = False
    """Nothing of the connection leaves this host, so nobody can record it for later."""
    proxy_command: tuple[str, ...] | None = None
    """argv of a ProxyCommand; with ``proxy_fdpass`` it hands over a connected socket."""
    proxy_fdpass: bool = False
    jump: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    """Further lines of the user's own configuration: keyword, and value as ssh wants it quoted."""
    jump_files: tuple[Path, ...] = ()
    """Files of the user's own configuration, which say how jump hosts are reached."""
    become: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that exists."""

    cluster: str
    node: str
    state: MachineState
    address: str
    """Address by which other nodes reach it; empty while unknown."""
    secondary_address: str = ""
    """The same of the other IP family, in a cluster of two."""
    ssh: SshTarget | None = None
    """None while it cannot be reached (stopped, broken or unknown)."""
    arch: str = ""
    """``amd64`` or ``arm64``; empty while it does not answer, and where a provider's machines are
    all alike."""
    problem: str = ""
    """Why its state is unknown, one line, for people."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses by which other nodes reach it, the primary one first."""
        return tuple(one for one in (self.address, self.secondary_address) if one)


def running(machine: Machine | None) -> bool:
    """Tell whether a machine is there and runs."""
    return machine is not None and machine.state is MachineState.RUNNING


def state_of(machine: Machine | None) -> str:
    """Return what a machine is, for people; ``missing`` when there is none."""
    return "missing" if machine is None else machine.state.value


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """What to make."""

    cluster: str
    node: str
    cpus: float | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None
    mounts: tuple[Mount, ...] = ()
    """What of this host it sees, for a provider whose ``capabilities.mounts`` says so."""
    template: str = ""
    """Key of the template to clone, for a provider with ``Templates``; empty for a bare machine.
    Says nothing about a machine that exists."""


class Resize(enum.StrEnum):
    """What ``create`` does to a machine that exists and has another size than is asked for."""

    NEVER = "never"
    """Nothing."""
    ON_START = "on start"
    """It gets the size when it is started, and not while it runs."""
    LIVE = "live"
    """It gets the size, also while it runs."""
    MEANINGLESS = "meaningless"
    """Nothing: machines of this provider have no such size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resizing:
    """Which sizes of its machines a provider can change."""

    cpus: Resize = Resize.NEVER
    memory: Resize = Resize.NEVER
    disk: Resize = Resize.NEVER
    """A disk never becomes smaller."""
