"""What this host must have for system containers; changes nothing."""

from __future__ import annotations

import itertools
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.model.networks import AUTO, IPV6, overlap, parsed
from ohmykube.model.outside import opened_by
from ohmykube.providers.base import Check, CheckStatus
from ohmykube.providers.nspawn import cgroups, kernel_limits, uplink
from ohmykube.providers.nspawn.cluster_directory import ClusterDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ohmykube.kit.paths import Paths
    from ohmykube.model.cluster import Cluster, Network
    from ohmykube.model.networks import IpNetwork
    from ohmykube.providers.nspawn.host_system import HostSystem

PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "nc": "netcat-openbsd",
    "mount": "mount",
}
WANTED_GIB = 10


def check(
    host: HostSystem,
    paths: Paths,
    *,
    outside: bool = True,
    uid: int | None = None,
    system: str = sys.platform,
) -> list[Check]:
    """Return all checks, the failed ones included; looks only.

    Args:
        host: where to look.
        paths: roots of the user's files.
        outside: nodes are to reach anything outside of their cluster.
        uid: effective user id; None asks the system.
        system: as ``sys.platform``.
    """
    if system != "linux":
        return [
            Check(
                id="linux",
                title="Linux",
                status=CheckStatus.FAIL,
                evidence=f"this is {platform.system()}; system containers need Linux",
            )
        ]
    return [
        _root(os.geteuid() if uid is None else uid),
        *(_program(host, program, package) for program, package in PROGRAMS.items()),
        *(_outside(host) if outside else ()),
        _overlay(host),
        _data(host, paths),
        _cgroups(host),
        _space(paths.data),
        _limits(host),
    ]


def _result(id: str, title: str, *, ok: bool, evidence: str, fix: str = "") -> Check:
    status = CheckStatus.OK if ok else CheckStatus.FAIL
    return Check(id=id, title=title, status=status, evidence=evidence, fix="" if ok else fix)


def check_for(host: HostSystem, paths: Paths, cluster: Cluster | None) -> list[Check]:
    """Return the checks for one cluster: its networks, and what they need.

    Args:
        host: where to look.
        paths: roots of the user's files.
        cluster: as it is described; None for questions that concern no cluster in particular.
    """
    if cluster is None:
        return check(host, paths)
    others = ClusterDirectory(paths.data / "nspawn").networks_of_others(cluster.name)
    outside = not opened_by(cluster.network, offline=False).nothing
    return [*check(host, paths, outside=outside), *networks(host, cluster.network, others)]


def _root(uid: int) -> Check:
    return _result(
        "root",
        "root rights",
        ok=uid == 0,
        evidence="root" if uid == 0 else f"user id {uid}; system containers need root",
        fix="sudo ohmykube up",
    )


def _program(host: HostSystem, program: str, package: str) -> Check:
    found = host.commands.which(program)
    netcat = program == "nc" and found is not None
    # `nc -F` hands a connected socket over; only the OpenBSD netcat has it.
    other = netcat and "openbsd" not in Path(found or "").resolve().name
    if found and not other:
        return _result(f"program-{program}", program, ok=True, evidence=found)
    return Check(
        id=f"program-{program}",
        title=program,
        status=CheckStatus.FAIL,
        evidence=f"{found} is another netcat" if other else f"{program} is not installed",
        fix=f"apt-get install {package}",
        packages=(package,),
        for_network=program == "mmdebstrap",
    )


def _outside(host: HostSystem) -> Iterator[Check]:
    """What connects clusters with the outside; those that are closed work without."""
    carriers = [name for name in uplink.CARRIERS if host.commands.which(name)]
    carrier = carriers[0] if carriers else next(iter(uplink.CARRIERS))
    needed = {carrier: uplink.CARRIERS[carrier], **uplink.PROGRAMS}
    for program, package in needed.items():
        found = host.commands.which(program)
        yield Check(
            id=f"program-{program}",
            title=program,
            status=CheckStatus.OK if found else CheckStatus.FAIL,
            evidence=found or f"{program} is not installed; nodes have no way out without it",
            fix="" if found else f"apt-get install {package}",
            packages=() if found else (package,),
            for_network=True,
        )
    tun = host.dev / "net/tun"
    yield Check(
        id="tun",
        title="/dev/net/tun",
        status=CheckStatus.OK if tun.exists() else CheckStatus.FAIL,
        evidence="there" if tun.exists() else f"{tun} is not there; nodes have no way out",
        fix="" if tun.exists() else "modprobe tun",
        for_network=True,
    )
    first, last = map(int, (host.proc / "sys/net/ipv4/ping_group_range").read_text().split())
    yield Check(
        id="ping",
        title="ping from nodes",
        status=CheckStatus.OK if first == 0 <= last else CheckStatus.NOTE,
        evidence="possible"
        if first == 0 <= last
        else f"not answered: net.ipv4.ping_group_range is {first} {last}, and leaves root out",
    )


def networks(host: HostSystem, network: Network, others: Sequence[IpNetwork]) -> Iterator[Check]:
    """Look whether the kernel knows the IP families, and who else has the machines' network.

    Args:
        host: where to look.
        network: what is described.
        others: networks of the machines of other clusters.
    """
    there = (host.proc / "net/if_inet6").exists()
    if IPV6 in network.families:
        yield _result(
            "ipv6",
            "IPv6 in the kernel",
            ok=there,
            evidence="there" if there else "not there, and podCIDR wants it for the nodes",
            fix="boot without ipv6.disable=1, or networks of IPv4 alone in podCIDR and serviceCIDR",
        )
    asked = () if network.machine_cidr == AUTO else parsed(network.machine_cidr)
    for mine, theirs in itertools.product(asked, others):
        if overlap(mine, theirs):
            yield Check(
                id="machine-network",
                title="network of the machines",
                status=CheckStatus.WARN,
                evidence=f"machineCIDR {mine} overlaps {theirs} of another cluster: the two can "
                "live side by side, and never be joined",
                fix="machineCIDR: auto  (takes a free one)",
            )


def _overlay(host: HostSystem) -> Check:
    known = "overlay" in (host.proc / "filesystems").read_text().split()
    release = platform.release()
    modules = Path("/lib/modules") / release / "kernel/fs/overlayfs"
    loadable = any(modules.glob("overlay.ko*")) if modules.is_dir() else False
    evidence = "in the kernel" if known else "as a module" if loadable else "not in this kernel"
    return _result(
        "overlayfs", "overlayfs", ok=known or loadable, evidence=evidence, fix="modprobe overlay"
    )


def _data(host: HostSystem, paths: Paths) -> Check:
    """A node's root cannot be laid over another overlay, as in a container."""
    where = _existing(paths.data)
    best, kind = "", ""
    for point, candidate, _options in host.mounts():
        if where.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, candidate
    return _result(
        "data-file-system",
        "file system for nodes",
        ok=kind not in ("overlay", "nfs", "nfs4", "fuse", "9p"),
        evidence=f"{paths.data} lies on {kind or 'an unknown file system'}",
        fix="set OHMYKUBE_HOME to a directory on a local file system such as ext4 or xfs",
    )


def _cgroups(host: HostSystem) -> Check:
    try:
        found = cgroups.detect(host)
        cgroups.offered(found)
    except OhmykubeError as error:
        evidence = f"{error.message}; {error.why}"
        return _result("cgroups", "cgroups", ok=False, evidence=evidence, fix=error.hint or "")
    return _result("cgroups", "cgroups", ok=True, evidence=f"version {found.version}")


def _space(path: Path) -> Check:
    free = shutil.disk_usage(_existing(path)).free / (1 << 30)
    enough = free >= WANTED_GIB
    return Check(
        id="disk-space",
        title="disk space",
        status=CheckStatus.OK if enough else CheckStatus.WARN,
        evidence=f"{free:.1f} GiB are free for {path}",
        fix="" if enough else f"free some space; a cluster of three wants {WANTED_GIB} GiB",
    )


def _limits(host: HostSystem) -> Check:
    """Each node's systemd, kubelet and containerd take instances out of one pool of root's."""
    low = kernel_limits.too_low(host)
    evidence = "; ".join(
        f"{name.replace('/', '.')} = {value}, is raised to {wanted} when nodes start"
        for name, (value, wanted) in low.items()
    )
    return Check(
        id="inotify",
        title="inotify limits",
        status=CheckStatus.NOTE if low else CheckStatus.OK,
        evidence=evidence or "high enough",
    )


def _existing(path: Path) -> Path:
    return next(p for p in [path, *path.parents] if p.exists())
