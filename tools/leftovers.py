"""Finds what a test run left on the machine.

    leftovers.py save FILE            before the run: what is there already
    leftovers.py check FILE TOKEN [SECONDS]     after it: end 1 and say so when anything is new

Looked at: network namespaces, interfaces, mounts and cgroups whose names say that they are ours,
processes that carry ``OHMYKUBE_TEST_RUN=TOKEN`` in their environment, and this host's own network,
which nothing of ours may change: interfaces, routes, rules and settings. What certainly belongs to
this run (by that mark, directly or through its cgroup) is then ended and removed, the rest only
reported. Clusters that began meanwhile under a supervisor of somebody else are left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
NETNS = Path("/run/netns")
NET_SETTINGS = "/proc/sys/net"
MARK = "OHMYKUBE_TEST_RUN"
OURS = re.compile(r"(^|[-_/.])(omk|ohmykube)([-_/.]|$)")


def cgroups() -> set[str]:
    """Return the cgroup directories with our name in their path, in all hierarchies."""
    found = set()
    for root, directories, _files in os.walk(CGROUPS):
        for name in directories:
            path = f"{root}/{name}"
            if OURS.search(path.removeprefix(str(CGROUPS))):
                found.add(path)
    return found


def mounts() -> set[str]:
    """Return the mount points with our name in their path."""
    lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    return {point for point in (line.split()[4] for line in lines) if OURS.search(point)}


def names(directory: Path) -> set[str]:
    """Return the names in a directory that are ours."""
    with contextlib.suppress(FileNotFoundError):
        return {entry.name for entry in directory.iterdir() if OURS.search(entry.name)}
    return set()


def lines_of(*argv: str) -> set[str]:
    """Return what a program prints, without what changes by itself; nothing where it is not."""
    try:
        text = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return set()
    return {
        re.sub(r" (expires|hoplimit|error) \S+", "", line).strip() for line in text.splitlines()
    }


def settings() -> set[str]:
    """Return the settings of the host's network that hold for all of its interfaces."""
    found = set()
    for root, directories, names in chain(
        os.walk(f"{NET_SETTINGS}/ipv4"), os.walk(f"{NET_SETTINGS}/ipv6")
    ):
        if Path(root).name in ("conf", "neigh"):
            directories[:] = ["all", "default"]  # the others come and go with their interfaces
        for name in names:
            with contextlib.suppress(OSError):
                value = " ".join(Path(root, name).read_text().split())
                found.add(f"{root.removeprefix(f'{NET_SETTINGS}/')}/{name} = {value}")
    return found


def observe() -> dict[str, set[str]]:
    """Return everything of ours that the machine shows now, and how its network is."""
    return {
        "network namespace": names(NETNS),
        "interface": {name for _, name in socket.if_nameindex()},
        "mount": mounts(),
        "cgroup": cgroups(),
        "route": lines_of("ip", "route", "show", "table", "all")
        | lines_of("ip", "-6", "route", "show", "table", "all"),
        "rule": lines_of("ip", "rule", "show") | lines_of("ip", "-6", "rule", "show"),
        "setting": settings(),
    }


def marked(token: str) -> dict[int, str]:
    """Return pid and command line of the processes of this run, without our own ancestors."""
    wanted = f"{MARK}={token}".encode()
    spared = set()
    pid = os.getpid()
    while pid > 1:
        spared.add(pid)
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pid = int(fields[1])
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in spared:
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = line.decode(errors="replace").strip()[:120]
    return found


def pids_below(path: str) -> set[int]:
    """Return all process ids in a cgroup and below."""
    found: set[int] = set()
    for root, _directories, _files in os.walk(path):
        with contextlib.suppress(OSError):
            found |= {int(word) for word in Path(root, "cgroup.procs").read_text().split()}
    return found


def clean(new: dict[str, set[str]], processes: dict[int, str]) -> None:
    """End and remove what belongs to this run for certain."""
    groups = {path for path in new["cgroup"] if pids_below(path) & processes.keys()}
    victims = set(processes).union(*(pids_below(path) for path in groups))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in victims:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        time.sleep(1)
    clusters = {cluster_of(path) for path in groups}
    for name in new["network namespace"]:
        if name.removeprefix("omk-").split(".")[0] in clusters:
            subprocess.run(["ip", "netns", "delete", name], check=False)
    temporary = os.environ.get("TMPDIR", "")
    for point in sorted(new["mount"], reverse=True):
        if temporary and point.startswith(f"{temporary}/"):
            subprocess.run(["umount", "--lazy", point], check=False)
    for path in sorted(groups, reverse=True):
        with contextlib.suppress(OSError):
            Path(path).rmdir()


def cluster_of(path: str) -> str:
    """Return the name of the cluster (or of the group) that a cgroup belongs to, else nothing."""
    match = re.search(r"/omk/([^/]+)", path) or re.search(r"/(omk-[^/]+)", path)
    return match[1] if match else ""


def foreign(groups: set[str], processes: dict[int, str]) -> set[str]:
    """Return the clusters whose supervisors run and do not carry the mark of this run."""
    supervised: dict[str, set[int]] = {}
    for path in groups:
        if path.endswith("/supervisor"):
            supervised.setdefault(cluster_of(path), set()).update(pids_below(path))
    return {
        name for name, pids in supervised.items() if name and pids and not pids & processes.keys()
    }


def without(found: set[str], clusters: set[str]) -> set[str]:
    """Return what does not belong to one of these clusters, by its name."""
    # A namespace is called omk-<cluster>, a cgroup has the cluster's name as it is.
    theirs = clusters | {f"omk-{name}" for name in clusters}

    def mine(item: str) -> bool:
        words = set(re.split(r"[/.]", item))
        shared = item.endswith("/omk")  # the parent of all clusters' cgroups
        return not words & theirs and not (theirs and shared)

    return {item for item in found if mine(item)}


def brief(found: set[str]) -> list[str]:
    """Return the entries that are not below another one."""
    return sorted(
        item for item in found if not any(item.startswith(f"{other}/") for other in found)
    )


def check(before: dict[str, set[str]], token: str, patience: float) -> int:
    """Compare, complain, clean; return 1 when anything was left."""
    # What is just ending may take a moment: a master ssh, a server that was told to stop.
    end = time.monotonic() + patience
    while True:
        processes = marked(token)
        seen = observe()
        others = foreign(seen["cgroup"], processes)
        # A record that an older version wrote may not have all kinds.
        new = {
            kind: without(found - before.get(kind, found), others) for kind, found in seen.items()
        }
        if not processes and not any(new.values()):
            print("==> nothing was left behind")
            return 0
        if time.monotonic() > end:
            break
        time.sleep(0.5)
    print("error: the run left something behind", file=sys.stderr)
    for kind, found in new.items():
        for name in brief(found):
            print(f"  {kind} {name}", file=sys.stderr)
    for pid, line in sorted(processes.items()):
        print(f"  process {pid} {line}", file=sys.stderr)
    clean(new, processes)
    return 1


def main(arguments: list[str]) -> int:
    """Save or check."""
    if arguments[:1] == ["save"] and len(arguments) == 2:
        found = {kind: sorted(items) for kind, items in observe().items()}
        Path(arguments[1]).write_text(json.dumps(found))
        return 0
    if arguments[:1] == ["check"] and len(arguments) in (3, 4):
        patience = float(arguments[3]) if len(arguments) == 4 else 15.0
        saved = json.loads(Path(arguments[1]).read_text())
        return check({kind: set(items) for kind, items in saved.items()}, arguments[2], patience)
    print("usage: leftovers.py save FILE | check FILE TOKEN [SECONDS]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
