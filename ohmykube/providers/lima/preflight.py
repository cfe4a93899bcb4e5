"""Whether this host can start machines with Lima: looks only, and `auto` acts on what it says."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import OhmykubeError
from ohmykube.kit import architecture, process
from ohmykube.providers.base import Check, CheckStatus
from ohmykube.providers.lima import names
from ohmykube.providers.lima.lima_yaml import VMNET_SOCKET
from ohmykube.providers.lima.version_workarounds import MINIMUM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ohmykube.model.cluster import Cluster
    from ohmykube.providers.lima.lima_home import Home
    from ohmykube.providers.lima.limactl import Limactl
    from ohmykube.providers.lima.options import Options
    from ohmykube.providers.lima.state import Drift

INSTALL = "install Lima 2.0 or newer: https://lima-vm.io/docs/installation/"
OTHER = "or use system containers, as root: ohmykube up --provider nspawn"
BEST = (2, 2, 0)
"""From here on a half-made directory harms no other machine."""
WANTED_GIB = 10
_QEMU = {
    "amd64": ("qemu-system-x86_64", "qemu-system-x86"),
    "arm64": ("qemu-system-aarch64", "qemu-system-arm"),
}


@dataclass(frozen=True, slots=True)
class Host:
    """What is looked at; tests give another one."""

    system: str = sys.platform
    uid: int | None = None
    """None asks the system."""
    architecture: str = ""
    """``amd64`` or ``arm64``; empty asks the system."""
    kvm: Path = Path("/dev/kvm")
    which: Callable[[str], str | None] = process.which

    @property
    def arch(self) -> str:
        """The architecture of this host and of its machines."""
        return self.architecture or architecture.host()

    def accelerated(self) -> str:
        """Return why processors would have to be emulated; empty when they need not.

        limactl only looks whether the device is there; whether it can be opened decides.
        """
        if self.system == "darwin":
            return ""
        try:
            os.close(os.open(self.kvm, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            return f"{self.kvm} cannot be opened: {error.strerror}"
        return ""


def emulation(host: Host) -> dict[str, str]:
    """Return the environment in which limactl emulates processors, and waits that much longer.

    Without it limactl takes acceleration wherever its device is there, whether it works or not.
    """
    found = {"LIMA_USERNET_RESOLVE_IP_ADDRESS_TIMEOUT": "30"}
    if host.system == "linux" and host.arch in _QEMU:
        program = _QEMU[host.arch][0]
        name = program.replace("-", "_").upper()
        machine = "q35,vmport=off" if host.arch == "amd64" else "virt"
        found[name] = f"{program} -machine {machine} -accel tcg,thread=multi"
    return found


def check(
    host: Host, home: Home, limactl: Limactl, options: Options, cluster: Cluster | None
) -> list[Check]:
    """Return all checks; what cannot be asked where another one failed is left as it is."""
    if host.system not in ("linux", "darwin"):
        evidence = f"{host.system}: machines of Lima cannot form a cluster there"
        fix = "work in a Linux of WSL 2 with nested virtualization"
        return [_result("system", "Linux or macOS", ok=False, evidence=evidence, fix=fix)]
    checks = [_user(host), _program(host, limactl), *_tools(host)]
    if host.system == "linux":
        checks += [*_qemu(host), _acceleration(host, options)]
    checks += [_path(home, cluster), _space(home)]
    if options.routable:
        checks.append(_routable(host))
    return checks


def _result(
    id: str, title: str, *, ok: bool, evidence: str, fix: str = "", packages: tuple[str, ...] = ()
) -> Check:
    return Check(
        id=f"lima-{id}",
        title=title,
        status=CheckStatus.OK if ok else CheckStatus.FAIL,
        evidence=evidence,
        fix="" if ok else fix,
        packages=() if ok else packages,
    )


def _user(host: Host) -> Check:
    uid = os.geteuid() if host.uid is None else host.uid
    evidence = f"user id {uid}" if uid else "root; Lima refuses to work for root"
    fix = f"run ohmykube as an ordinary user, {OTHER}"
    return _result("user", "an ordinary user", ok=uid != 0, evidence=evidence, fix=fix)


def _program(host: Host, limactl: Limactl) -> Check:
    title = f"limactl {MINIMUM[0]}.{MINIMUM[1]} or newer"
    if host.which(limactl.program) is None:
        evidence = f"{limactl.program} is not installed"
        return _result("limactl", title, ok=False, evidence=evidence, fix=f"{INSTALL}, {OTHER}")
    try:
        version = limactl.version()
    except OhmykubeError as error:
        evidence = f"{error.message}: {error.why}" if error.why else error.message
        return _result("limactl", title, ok=False, evidence=evidence, fix=error.hint or INSTALL)
    if version.numbers is not None and not version.at_least(*MINIMUM):
        return _result("limactl", title, ok=False, evidence=f"limactl {version}", fix=INSTALL)
    if version.at_least(*BEST):
        return _result("limactl", title, ok=True, evidence=f"limactl {version}")
    return Check(
        id="lima-limactl",
        title=title,
        status=CheckStatus.WARN,
        evidence=f"limactl {version} works; from 2.2 on one broken machine harms no other",
        fix=INSTALL,
    )


def _tools(host: Host) -> list[Check]:
    return [_found(host, program, "openssh-client") for program in ("ssh", "ssh-keygen")]


def _qemu(host: Host) -> list[Check]:
    if host.arch not in _QEMU:
        evidence = f"{host.arch}: there are no machine images for it"
        return [_result("architecture", "amd64 or arm64", ok=False, evidence=evidence)]
    program, package = _QEMU[host.arch]
    return [_found(host, program, package), _found(host, "qemu-img", "qemu-utils")]


def _found(host: Host, program: str, package: str) -> Check:
    path = host.which(program)
    return _result(
        f"program-{program}",
        program,
        ok=path is not None,
        evidence=path or f"{program} is not installed",
        fix=f"apt-get install {package}",
        packages=(package,),
    )


def _acceleration(host: Host, options: Options) -> Check:
    problem = host.accelerated()
    title = "hardware acceleration"
    if not problem:
        return _result("acceleration", title, ok=True, evidence=str(host.kvm))
    if options.emulation:
        return Check(
            id="lima-acceleration",
            title=title,
            status=CheckStatus.WARN,
            evidence=f"{problem}; processors are emulated, as asked, and slow",
        )
    fix = f"usermod -aG kvm $USER and log in again, {OTHER}, or set the option emulation: true"
    return _result("acceleration", title, ok=False, evidence=problem, fix=fix)


def _path(home: Home, cluster: Cluster | None) -> Check:
    wanted = [names.instance(cluster.name, node.name) for node in cluster.nodes] if cluster else []
    problem = home.too_long(wanted or ["x" * names.LONGEST], [names.network(255)])
    fix = "set OHMYKUBE_LIMA_HOME to a directory with a short path"
    return _result(
        "path", "room for sockets", ok=not problem, evidence=problem or str(home.root), fix=fix
    )


def _space(home: Home) -> Check:
    where = next(p for p in [home.root, *home.root.parents] if p.exists())
    free = shutil.disk_usage(where).free >> 30
    return Check(
        id="lima-space",
        title="free disk space",
        status=CheckStatus.OK if free >= WANTED_GIB else CheckStatus.WARN,
        evidence=f"{free} GiB free at {where}",
        fix="" if free >= WANTED_GIB else f"free at least {WANTED_GIB} GiB there",
    )


def _routable(host: Host) -> Check:
    if host.system != "darwin":
        evidence = "the option routable needs socket_vmnet, which is for macOS"
        fix = "leave routable out; ohmykube reaches everything through 127.0.0.1"
    else:
        evidence = f"{VMNET_SOCKET}: no such socket"
        fix = "install socket_vmnet as root and start its service"
    there = host.system == "darwin" and Path(VMNET_SOCKET).exists()
    return _result(
        "routable",
        "a network of this host for machines",
        ok=there,
        evidence=VMNET_SOCKET if there else evidence,
        fix=fix,
    )


def sizes(differs: Mapping[str, Sequence[Drift]]) -> list[Check]:
    """Return what there is to say of machines whose size is not the desired one, by node."""
    if not differs:
        return []
    shrinks = any(one.shrinks for found in differs.values() for one in found)
    told = "; ".join(f"{node}: {', '.join(map(str, found))}" for node, found in differs.items())
    when = "a disk cannot become smaller" if shrinks else "applies when they are started next"
    return [
        Check(
            id="lima-sizes",
            title="sizes of the machines",
            status=CheckStatus.FAIL if shrinks else CheckStatus.WARN,
            evidence=f"{told} ({when})",
            fix="set disk as it was, or more" if shrinks else "ohmykube stop; ohmykube start",
        )
    ]


def image(location: str, error: OhmykubeError | None = None) -> Check:
    """Return whether there is an image to make machines from."""
    evidence = location
    if error is not None:
        evidence = f"{error.message}: {error.why}" if error.why else error.message
    fix = error.hint or "" if error else ""
    return _result("image", "machine image", ok=error is None, evidence=evidence, fix=fix)
