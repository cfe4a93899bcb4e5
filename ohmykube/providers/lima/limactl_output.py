"""limactl's output, as types.

The names on the wire are those of ``limactl list --json`` and the like, equal from 2.0 to 2.2. Keys
that a newer version adds are ignored; a value of another shape is an error, never a guess.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class Status(enum.StrEnum):
    """What limactl says of an instance; RUNNING only means that two processes live."""

    UNKNOWN = ""
    UNINITIALIZED = "Uninitialized"
    INSTALLING = "Installing"
    BROKEN = "Broken"
    STOPPED = "Stopped"
    RUNNING = "Running"


class Malformed(ValueError):
    """An answer has another shape than is known."""


def _get(raw: Mapping[str, Any], key: str, kind: type[T], default: T | None = None) -> T:
    value = raw.get(key, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Malformed(f"`{key}` is {value!r}, expected {kind.__name__}")
    return value


def _mappings(raw: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = _get(raw, key, list, [])
    if not all(isinstance(one, Mapping) for one in found):
        raise Malformed(f"`{key}` holds something that is no object: {found!r}")
    return found


def lines(text: str) -> list[Mapping[str, Any]]:
    """Read JSON Lines; raises Malformed."""
    found = []
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise Malformed(f"not JSON: {line[:120]!r}") from error
        if not isinstance(value, Mapping):
            raise Malformed(f"not an object: {line[:120]!r}")
        found.append(value)
    return found


@dataclass(frozen=True, slots=True)
class Attachment:
    """One entry of an instance's networks."""

    network: str
    """Lima network such as ``user-v2``; empty for another kind."""
    socket: str
    vz_nat: bool
    mac: str
    """Not the card's address on the first user-v2 network (quirk USER_V2_MAC_IS_ANOTHER)."""
    interface: str

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Attachment:
        """Read one object of ``network``; raises Malformed."""
        return cls(
            network=_get(raw, "lima", str, ""),
            socket=_get(raw, "socket", str, ""),
            vz_nat=_get(raw, "vzNAT", bool, default=False),
            mac=_get(raw, "macAddress", str, ""),
            interface=_get(raw, "interface", str, ""),
        )


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as listed; memory and disk are bytes, absent numbers 0."""

    name: str
    hostname: str
    status: Status
    directory: Path
    vm_type: str
    arch: str
    cpus: int
    memory: int
    disk: int
    networks: tuple[Attachment, ...]
    ssh_port: int
    """0 when it is not running; another one after each start."""
    ssh_address: str
    ssh_config: Path
    host_agent_pid: int
    driver_pid: int
    has_errors: bool
    """limactl lists that there are errors, and never which (quirk ERRORS_ARE_EMPTY)."""
    protected: bool
    lima_version: str
    config: Mapping[str, Any] = field(hash=False)
    """The whole machine template with all defaults filled in."""

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Instance:
        """Read one object of ``limactl list --json``; raises Malformed."""
        status = _get(raw, "status", str)
        if status not in set(Status):
            raise Malformed(f"`status` is {status!r}")
        return cls(
            name=_get(raw, "name", str),
            hostname=_get(raw, "hostname", str, ""),
            status=Status(status),
            directory=Path(_get(raw, "dir", str)),
            vm_type=_get(raw, "vmType", str, ""),
            arch=_get(raw, "arch", str, ""),
            cpus=_get(raw, "cpus", int, 0),
            memory=_get(raw, "memory", int, 0),
            disk=_get(raw, "disk", int, 0),
            networks=tuple(Attachment.parse(one) for one in _mappings(raw, "network")),
            ssh_port=_get(raw, "sshLocalPort", int, 0),
            ssh_address=_get(raw, "sshAddress", str, ""),
            ssh_config=Path(_get(raw, "sshConfigFile", str, "")),
            host_agent_pid=_get(raw, "hostAgentPID", int, 0),
            driver_pid=_get(raw, "driverPID", int, 0),
            has_errors="errors" in raw,
            protected=_get(raw, "protected", bool, default=False),
            lima_version=_get(raw, "limaVersion", str, ""),
            config=_get(raw, "config", Mapping, {}),  # type: ignore[type-abstract]
        )


@dataclass(frozen=True, slots=True)
class Disk:
    """One additional disk; ``instance`` is empty when no instance uses it."""

    name: str
    size: int
    """Bytes."""
    format: str
    directory: Path
    instance: str

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Disk:
        """Read one object of ``limactl disk list --json``; raises Malformed."""
        return cls(
            name=_get(raw, "name", str),
            size=_get(raw, "size", int),
            format=_get(raw, "format", str, ""),
            directory=Path(_get(raw, "dir", str)),
            instance=_get(raw, "instance", str, ""),
        )


@dataclass(frozen=True, slots=True)
class Network:
    """One network of ``_config/networks.yaml``; the real gateway of a user-v2 one is its .2."""

    name: str
    mode: str
    gateway: str
    netmask: str

    @classmethod
    def parse(cls, raw: Mapping[str, Any], name: str = "") -> Network:
        """Read one object; ``name`` is for objects that do not tell theirs. Raises Malformed."""
        return cls(
            name=_get(raw, "name", str, name),
            mode=_get(raw, "mode", str, ""),
            gateway=_get(raw, "gateway", str, ""),
            netmask=_get(raw, "netmask", str, ""),
        )


@dataclass(frozen=True, slots=True)
class Info:
    """What limactl says of itself; ``guest_agents`` by architecture."""

    version: str
    home: Path
    vm_types: tuple[str, ...]
    guest_agents: tuple[str, ...]
    identity_file: str

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Info:
        """Read the object of ``limactl info``; raises Malformed."""
        types = _get(raw, "vmTypes", list, [])
        return cls(
            version=_get(raw, "version", str),
            home=Path(_get(raw, "limaHome", str)),
            vm_types=tuple(str(one) for one in types),
            guest_agents=tuple(_get(raw, "guestAgents", dict, {})),
            identity_file=_get(raw, "identityFile", str, ""),
        )


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line that limactl said: ``level`` is info, warning, error or fatal, or empty for text."""

    level: str
    message: str
    detail: str = ""
    """What it adds as ``error``, such as the place of an unknown field."""


def log_entries(stderr: str) -> tuple[LogEntry, ...]:
    """Read what limactl said with ``--log-format=json``; other text (usage, a panic) stays text."""
    found = []
    for line in stderr.splitlines():
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict) and isinstance(value.get("msg"), str):
            level, detail = str(value.get("level", "")), str(value.get("error", ""))
            found.append(LogEntry(level, value["msg"], detail))
        else:
            found.append(LogEntry("", line))
    return tuple(found)
