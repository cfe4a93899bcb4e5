"""Looking at a host and its nodes from outside of the providers."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.kit import process
from ohmykube.providers import ssh_config

if TYPE_CHECKING:
    from ohmykube.model.machine import Machine


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
