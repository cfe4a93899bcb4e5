"""The size that a node sees of itself: its limits, and not the CPUs and memory of the host.

A kubelet takes what the kernel's files say for the capacity of its node, places pods by it and
makes room by it. A node shares these files with its host, so its own are laid over them; they are
bound and written in place, so a node that runs sees another size at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ohmykube.kit import files

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.providers.nspawn.cgroups import Limits
    from ohmykube.providers.nspawn.host_system import HostSystem
    from ohmykube.providers.nspawn.layout import NodeFiles

PLACE = "/run/ohmykube/size"
"""Where a node sees its files. systemd-nspawn looks there, and not on the host, for what it lays
over ``/proc``: it does that when it has changed into the node's root."""
_MEMORY, _CPUS = "meminfo", "cpus-online"


def write(host: HostSystem, node: NodeFiles, limits: Limits) -> None:
    """Write a node's files in place; where it has no limit, they say what the host has."""
    files.ensure_directory(node.size, mode=0o755)
    total = _total_kib(host)
    if limits.memory_bytes is not None:
        total = min(total, limits.memory_bytes >> 10)
    # How much of it is in use is told by the control group; here nothing is.
    sizes = {"MemTotal": total, "MemFree": total, "MemAvailable": total}
    lines = {**sizes, "SwapTotal": 0, "SwapFree": 0}
    text = "".join(f"{f'{name}:':<15}{kib:>9} kB\n" for name, kib in lines.items())
    _put(node.size / _MEMORY, text)
    online = _online(host)
    if online:
        wanted = len(online) if limits.cpus is None else math.ceil(limits.cpus)
        _put(node.size / _CPUS, ",".join(map(str, online[:wanted])) + "\n")


def binds(node: NodeFiles) -> list[tuple[str, str]]:
    """Return source and target of each mount, in the order in which they are made."""
    found = [(str(node.size), PLACE), (f"{PLACE}/{_MEMORY}", "/proc/meminfo")]
    if (node.size / _CPUS).exists():
        found.append((str(node.size / _CPUS), "/sys/devices/system/cpu/online"))
    return found


def _put(path: Path, text: str) -> None:
    """Write a file that stays the same one: nodes have it mounted."""
    path.touch(mode=0o644)
    with path.open("r+") as stream:
        stream.write(text)
        stream.truncate()


def _total_kib(host: HostSystem) -> int:
    for line in (host.proc / "meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1])
    raise ValueError(f"{host.proc / 'meminfo'} has no MemTotal")


def _online(host: HostSystem) -> list[int]:
    """Return the numbers of the host's CPUs; empty where the kernel cannot take any offline."""
    path = host.sys / "devices/system/cpu/online"
    if not path.exists():
        return []
    found: list[int] = []
    for part in path.read_text().strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
