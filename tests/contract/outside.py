"""Looking at a host and its nodes from outside of the providers."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.kit import process
from ohmykube.kit.paths import Paths
from ohmykube.model.machine import MachineSpec
from ohmykube.progress import NullReporter
from ohmykube.providers import ssh_config
from ohmykube.providers.base import ProviderContext
from ohmykube.providers.nspawn.provider import NspawnProvider

if TYPE_CHECKING:
    from ohmykube.model.machine import Machine


def create_node(home: Path, cache: Path, cluster: str, answer: Path | None = None) -> None:
    """Make one node, as a process of its own does; write where its ssh can be reached."""
    paths = Paths(state=home / "state", data=home / "data", cache=cache)
    provider = NspawnProvider(ProviderContext(paths=paths, reporter=NullReporter()))
    machine = provider.create(MachineSpec(cluster=cluster, node="cp1"))
    if answer is not None:
        host, port = provider.api_endpoint(cluster, machine.address, 22)
        answer.write_text(f"{host} {port}")


def new_cluster_name() -> str:
    """Return a name that no other run uses on this host."""
    return f"t-{uuid.uuid4().hex[:8]}"


def traces(name: str) -> dict[str, list[str]]:
    """Return everything on this host that carries ``name``, by where it was found."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    groups = [
        str(Path(root, directory))
        for root, directories, _ in os.walk("/sys/fs/cgroup")
        for directory in directories
        if name in directory
    ]
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if name in line and path.parent.name != str(os.getpid()):
                processes.append(line)
    netns = Path("/run/netns")
    found = {
        "mounts": [line for line in mounts if name in line],
        "cgroups": groups,
        "namespaces": [p.name for p in netns.glob("*") if name in p.name],
        "claims": [str(p) for p in Path("/run/ohmykube/nspawn").glob("*.json") if name in p.name],
        "processes": processes,
    }
    return {kind: lines for kind, lines in found.items() if lines}


def reach(machine: Machine, directory: Path, command: str = "true") -> process.Result:
    """Run a command on a machine over ssh, through the same configuration as the product."""
    assert machine.ssh is not None
    path = directory / f"ssh-{uuid.uuid4().hex[:8]}"
    path.write_text(ssh_config.render({machine.node: machine.ssh}, directory))
    once = ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
    argv = ["ssh", "-F", str(path), *once, machine.node, "--", command]
    return process.run(argv, timeout=20, check=False)
