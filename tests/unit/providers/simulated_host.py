"""A host in a directory: control files, namespaces, mounts and processes that are only files.

It knows the few programs that the nspawn provider runs, and what they leave behind.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.kit.process import CommandFailed, Result
from ohmykube.kube.exposure.keeper import read_report
from ohmykube.model import exposure
from ohmykube.providers.nspawn.host_system import HostSystem, KernelCalls
from tests.fake_clock import FakeClock

if TYPE_CHECKING:
    from ohmykube.model.exposure import ExposedPort

V1 = ("cpu", "cpuset", "memory", "pids", "systemd")
HELPERS = ("pasta", "slirp4netns", "dnsmasq")
PORTS = "ohmykube.kube.exposure"
V2_CONTROLLERS = "cpuset cpu io memory pids"


@dataclass
class Simulation(KernelCalls):
    """The kernel and the programs. ``failing`` maps the start of a command line to its stderr."""

    root: Path
    version: int
    failing: dict[str, str] = field(default_factory=dict)
    deaf: bool = False
    """Nodes do not halt on the orderly signal."""
    stillborn: str = ""
    """What a node writes on its console before it ends at once."""
    silent: int = 0
    """Nodes start but their sshd never listens."""
    vanishing: bool = False
    """Others are always faster: what a program or call is to delete is gone when it begins."""
    pasta_help: str = ""
    inputs: list[str] = field(default_factory=list)
    """What programs were given on their standard input."""
    links: set[tuple[str, str]] = field(default_factory=set)
    """Namespace and name of network links on bridges."""
    ran: list[tuple[str, ...]] = field(default_factory=list)
    signals: list[tuple[int, int]] = field(default_factory=list)
    listening: set[int] = field(default_factory=set)
    """Ports of programs of others."""
    led: dict[str, set[int]] = field(default_factory=dict)
    """Ports that lead to servers of nodes, as ``held``."""
    held: dict[str, dict[ExposedPort, str]] = field(default_factory=dict)
    """Places on the host by port of a cluster, by the orders of the process that holds them."""
    mute: bool = False
    """Processes that hold ports do not report."""
    api_problem: str = ""
    """What they report of the API."""
    refused: bool = False
    """The API does not know them."""
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self._pids = itertools.count(1000)
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._staging = self.root / "staging"
        self.cgroup, self.proc = self.root / "cgroup", self.root / "proc"
        self.netns, self.run_dir = self.root / "netns", self.root / "run"
        for path in (self.cgroup, self.proc / "self", self.netns):
            path.mkdir(parents=True)
        self.sys = self.root / "sys"
        (self.sys / "devices/system/cpu").mkdir(parents=True)
        (self.sys / "devices/system/cpu/online").write_text("0-2,5\n")
        (self.proc / "meminfo").write_text("MemTotal:       8000000 kB\nMemFree: 1 kB\n")
        (self.root / "dev/net").mkdir(parents=True)
        (self.root / "dev/net/tun").touch()
        (self.root / "etc").mkdir()
        (self.root / "etc/resolv.conf").write_text("search corp.example\nnameserver 192.0.2.53\n")
        (self.proc / "sys/net/ipv4").mkdir(parents=True)
        (self.proc / "sys/net/ipv4/ping_group_range").write_text("0\t2147483647\n")
        (self.proc / "filesystems").write_text("nodev\toverlay\n\text4\n")
        self.table: list[tuple[str, str, str]] = [("/", "ext4", "rw")]
        if self.version == 1:
            for name in V1:
                (self.cgroup / name).mkdir()
                self._control_files(self.cgroup / name)
                self.table.append((str(self.cgroup / name), "cgroup", f"rw,{name}"))
            (self.cgroup / "cpuset/cpuset.cpus").write_text("0-1\n")
            (self.cgroup / "cpuset/cpuset.mems").write_text("0\n")
        else:
            self._control_files(self.cgroup)
            self.table.append((str(self.cgroup), "cgroup2", "rw"))
        self._write_mounts()

    def host(self) -> HostSystem:
        return HostSystem(
            cgroup=self.cgroup,
            proc=self.proc,
            sys=self.sys,
            netns=self.netns,
            etc=self.root / "etc",
            dev=self.root / "dev",
            run=self.run_dir,
            commands=self,
            kernel=self,
            clock=self.clock,
        )

    # Kernel

    def mkdir(self, group: Path) -> None:
        # A kernel shows a group with all its files or not at all.
        with self._lock:
            if group.exists():
                raise FileExistsError(17, "File exists", str(group))
            if not group.parent.is_dir():
                raise FileNotFoundError(2, "No such file or directory", str(group))
            staged = self._staging / f"group-{next(self._numbers)}"
            staged.mkdir(parents=True)
            self._control_files(group, staged)
            staged.rename(group)

    def _control_files(self, group: Path, place: Path | None = None) -> None:
        place = place or group
        (place / "cgroup.procs").write_text("")
        if self.version == 2:
            for name in ("cpu.max", "memory.max", "cgroup.subtree_control"):
                (place / name).write_text("")
            offered = V2_CONTROLLERS
            if group != self.cgroup:
                offered = (group.parent / "cgroup.subtree_control").read_text()
            (place / "cgroup.controllers").write_text(offered + "\n")
            return
        controller = group.relative_to(self.cgroup).parts[0]
        names = {
            "cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us"),
            "cpuset": ("cpuset.cpus", "cpuset.mems"),
            "memory": ("memory.limit_in_bytes",),
        }
        for name in names.get(controller, ()):
            (place / name).write_text("\n" if controller == "cpuset" else "-1\n")

    def _replace(self, control: Path, text: str) -> None:
        """Write as a kernel does: nobody ever reads a half-written control file."""
        staged = self._staging / f"file-{next(self._numbers)}"
        staged.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(text)
        staged.replace(control)

    def write(self, control: Path, text: str) -> None:
        if f"write {control.name} {text}" in self.failing:
            raise OSError(16, "Device or resource busy")
        with self._lock:
            if not control.exists():
                raise FileNotFoundError(2, "No such file or directory", str(control))
            if control.name == "cgroup.subtree_control":
                text = f"{control.read_text()} {text.lstrip('+')}".strip()
                for offered in control.parent.glob("*/cgroup.controllers"):
                    self._replace(offered, text + "\n")
            self._replace(control, text)

    def rmdir(self, group: Path) -> None:
        with self._lock:
            if self.vanishing:
                self._rmdir(group)
            self._rmdir(group)

    def _rmdir(self, group: Path) -> None:
        with self._lock:
            if (group / "cgroup.procs").read_text().split():
                raise OSError(16, "Device or resource busy")
            if any(path.is_dir() for path in group.iterdir()):
                raise OSError(39, "Directory not empty")
            for path in group.iterdir():
                path.unlink()
            group.rmdir()

    def kill(self, pid: int, number: int) -> None:
        with self._lock:
            self.signals.append((pid, number))
            if not (self.proc / str(pid)).exists():
                raise ProcessLookupError
            if number != 9 and self.deaf:
                return
            words = (self.proc / str(pid) / "status").read_text().split("Orders:\t")[1:]
            if number == 1 and words:
                self._hold(pid, *map(Path, words[0].split()))
                return
            self._end(pid)
            if self.vanishing:
                raise ProcessLookupError

    def _end(self, pid: int) -> None:
        status = (self.proc / str(pid) / "status").read_text()
        for path in self.cgroup.rglob("cgroup.procs"):
            left = [line for line in path.read_text().split() if line != str(pid)]
            path.write_text("".join(f"{line}\n" for line in left))
        for path in (self.proc / str(pid)).iterdir():
            path.unlink()
        (self.proc / str(pid)).rmdir()
        if "Orders:" in status:
            orders_file = status.split("Orders:")[1].split()[0]
            self.held.pop(orders_file, None)
            self.led.pop(orders_file, None)

    def port_free(self, port: int) -> bool:
        return port not in self.listening.union(*self.led.values())

    # Commands

    def which(self, program: str) -> str | None:
        return None if f"which {program}" in self.failing else f"/usr/bin/{program}"

    def detach(self, argv: tuple[str, ...], log_file: Path) -> int:
        with self._lock:
            argv = tuple(argv)
            self.ran.append(argv)
            split = argv.index("--")
            procs, command = argv[4:split], argv[split + 1 :]
            pid = next(self._pids)
            log_file.write_text(self.stillborn)
            if self.stillborn:
                return pid
            status = f"State:\tS (sleeping)\nNSpid:\t{pid}"
            if "systemd-nspawn" in command:
                self._spawn(procs, pid, status + "\n")
                inner = next(self._pids)
                self._spawn(procs, inner, f"State:\tS (sleeping)\nNSpid:\t{inner}\t1\n")
            elif PORTS in command:
                if PORTS not in self.failing:
                    files = command[-2:]
                    self._spawn(procs, pid, f"{status}\nOrders:\t{files[0]} {files[1]}\n")
                    self._hold(pid, *map(Path, files))
            else:
                (helper,) = [name for name in HELPERS if name in command]
                if helper not in self.failing:
                    self._spawn(procs, pid, f"{status}\nHelper:\t{helper}\n")
            return pid

    def _hold(self, pid: int, orders_file: Path, report_file: Path) -> None:
        """Do what a process is told that holds ports: its own where free, else the next."""
        if self.mute:
            return
        orders = exposure.orders(json.loads(orders_file.read_text()))
        before = dict(read_report(report_file).places)
        kept = self.held[str(orders_file)] = {}
        for port in orders.listed:
            key = f"{port.address}:{port.port}/{port.protocol}"
            taken = {
                (p.protocol, place) for held in self.held.values() for p, place in held.items()
            }
            wished = [before.get(key, ""), f"127.0.0.1:{port.port}"]
            wished += [f"127.0.0.1:{number}" for number in exposure.OWN_PORTS]
            free = (place for place in wished if place and (port.protocol, place) not in taken)
            before[key] = kept[port] = next(free)
        told = exposure.Exposed(
            ports=tuple(
                exposure.PublishedPort(name=port.address, target=port, place=place)
                for port, place in kept.items()
            ),
            problem=self.api_problem,
            refused=self.refused,
            complete=not self.api_problem,
        )
        led = self.led[str(orders_file)] = set[int]()
        forwards = []
        for way in orders.forwards:
            free = self.port_free(way.host_port)
            place = f"127.0.0.1:{way.host_port}"
            led.update([way.host_port] if free else [])
            forwards.append(
                exposure.PublishedPort(
                    name="",
                    target=way.target,
                    place=place if free else "",
                    refused_port=0 if free else way.host_port,
                    reason="" if free else "is taken",
                )
            )
        report = exposure.Report(
            revision=orders.revision,
            version=orders.version,
            pid=pid,
            places=before,
            exposed=told,
            forwards=tuple(forwards),
        )
        report_file.write_text(json.dumps(report.document()))

    def _spawn(self, procs: tuple[str, ...], pid: int, status: str) -> None:
        (self.proc / str(pid)).mkdir()
        (self.proc / str(pid) / "status").write_text(status)
        for path in procs:
            with Path(path).open("a") as stream:
                stream.write(f"{pid}\n")

    def run(
        self,
        argv: tuple[str, ...],
        *,
        timeout: float,
        input: str | None = None,
        check: bool = True,
        contained: bool = False,
    ) -> Result:
        with self._lock:
            argv = tuple(argv)
            self.ran.append(argv)
            self.inputs += [input] if input else []
            line = " ".join(argv)
            faults = [text for start, text in self.failing.items() if line.startswith(start)]
            code, text = (1, faults[0]) if faults else self._program(argv, input or "")
        result = Result(argv, code, self._output(argv), text)
        if check and code:
            raise CommandFailed(result)
        return result

    def _output(self, argv: tuple[str, ...]) -> str:
        match argv:
            case ["pasta", "--help"]:
                return self.pasta_help
            case ["ip", "-n", _, "route", "show", "default"] if self._carried():
                return "default via 10.88.1.2 dev out0\n"
            case ["ip", "-n", _, "link", "show", "dev", "out0"] if self._carried():
                return "2: out0: <UP> mtu 65520 qdisc fq_codel state UP qlen 10000\n"
            case _:
                return ""

    def _carried(self) -> bool:
        return bool({"pasta", "slirp4netns"} & set(self.helpers()))

    def helpers(self) -> list[str]:
        """Return the programs that run for clusters' networks."""
        found = [path.read_text() for path in self.proc.glob("[0-9]*/status")]
        return sorted(text.split("Helper:\t")[1].strip() for text in found if "Helper:" in text)

    def _program(self, argv: tuple[str, ...], text: str) -> tuple[int, str]:
        deletes = argv[0] == "umount" or "delete" in argv
        if deletes and self.vanishing:
            self._effect(argv, text)
        return self._effect(argv, text)

    def _effect(self, argv: tuple[str, ...], text: str) -> tuple[int, str]:
        match argv:
            case ["ip", *_]:
                return self._ip(argv, text)
            case ["mount", *_, options, target]:
                self._mount(options, Path(target))
            case ["umount", *_, target]:
                if target not in [point for point, _, _ in self.table]:
                    return 32, f"umount: {target}: not mounted."
                self._umount(Path(target))
            case ["ssh-keygen", *_, path]:
                Path(path).write_text("private\n")
                Path(f"{path}.pub").write_text(f"ssh-ed25519 AAAA{len(self.ran)} comment\n")
            case ["mmdebstrap", *_]:
                self._bootstrap(Path(next(a for a in argv if a.startswith("/"))))
            case [_, _, "nc", *_]:
                return self.silent or int(bool(self.stillborn)), ""
            case _:
                pass
        return 0, ""

    def _ip(self, argv: tuple[str, ...], text: str) -> tuple[int, str]:
        match argv:
            case ["ip", "netns", "add", name]:
                (self.netns / name).touch(exist_ok=False)
            case ["ip", "netns", "delete", name]:
                if not (self.netns / name).exists():
                    return 1, "No such file or directory"
                (self.netns / name).unlink()
                # The other end of a veth pair goes a little later.
                self.links = {link for link in self.links if link[0] != name}
            case ["ip", "-n", name, "-batch", "-"]:
                made = re.findall("link add name ([^ ]+)", text)
                self.links.update((name, link) for link in made)
            case ["ip", "-n", name, "link", verb, "dev", device, *_]:
                there = (name, device) in self.links or (device == "out0" and self._carried())
                if not (self.netns / name).exists() or not there:
                    return 1, f'Cannot find device "{device}"'
                if verb == "delete":
                    self.links.discard((name, device))
        return 0, ""

    @staticmethod
    def _bootstrap(rootfs: Path) -> None:
        for name in ("etc/ssh", "etc/systemd/system", "var/lib/dbus", "root"):
            (rootfs / name).mkdir(parents=True)
        (rootfs / "etc/machine-id").write_text("0123\n")
        (rootfs / "etc/ssh/ssh_host_rsa_key").write_text("secret\n")

    def _mount(self, options: str, target: Path) -> None:
        """Lay the upper directory over the lower ones, by copying."""
        lower, rest = options.removeprefix("lowerdir=").split(",upperdir=")
        upper, _ = rest.split(",workdir=")
        layers = [_plain(layer) for layer in reversed(re.split(r"(?<!\\):", lower))]
        # What was unmounted before holds everything already.
        for source in [Path(_plain(upper))] if any(Path(_plain(upper)).iterdir()) else layers:
            for link in source.rglob("*"):
                if link.is_symlink():  # copytree replaces files alone
                    (target / link.relative_to(source)).unlink(missing_ok=True)
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        self.table.append((str(target), "overlay", "rw"))
        self._write_mounts()

    def _umount(self, target: Path) -> None:
        upper = target.with_name("upper")
        shutil.rmtree(upper)
        target.rename(upper)
        target.mkdir()
        self.table = [entry for entry in self.table if entry[0] != str(target)]
        self._write_mounts()

    def _write_mounts(self) -> None:
        blank = "\\040"
        rows = [(point.replace(" ", blank), kind, rest) for point, kind, rest in self.table]
        text = "".join(f"x {point} {kind} {rest} 0 0\n" for point, kind, rest in rows)
        (self.proc / "self" / "mounts").write_text(text)

    def reboot(self) -> None:
        """Lose everything that a kernel forgets."""
        for path in sorted(self.cgroup.rglob("omk*"), reverse=True):
            for entry in sorted(path.rglob("*"), reverse=True):
                entry.rmdir() if entry.is_dir() else entry.unlink()
            path.rmdir()
        for path in self.proc.glob("[0-9]*"):
            (path / "status").unlink()
            path.rmdir()
        for path in self.netns.iterdir():
            path.unlink()
        for path in sorted(self.run_dir.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.listening.clear()
        self.held.clear()
        self.led.clear()
        for target in [Path(entry[0]) for entry in self.table if entry[1] == "overlay"]:
            self._umount(target)

    def traces(self) -> list[str]:
        """Return what is left of any cluster."""
        found = [str(path) for path in self.cgroup.rglob("omk*")]
        found += [path.name for path in self.netns.iterdir()]
        found += [entry[0] for entry in self.table if entry[1] == "overlay"]
        found += [path.name for path in self.proc.glob("[0-9]*")]
        return found + [str(path) for path in self.run_dir.glob("nspawn/*")]


def _plain(escaped: str) -> Path:
    return Path(escaped.replace("\\:", ":").replace("\\,", ","))


def split_bind(option: str) -> tuple[str, list[str]]:
    """Take ``--bind=…`` apart as systemd does: at colons without a backslash before them."""
    name, _, value = option.partition("=")
    parts = re.findall(r"(?:[^:\\]|\\.)+", value, re.DOTALL)
    return name, [re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in parts]


def path_seen(simulation: Simulation, node: str, path: str) -> tuple[Path | None, bool]:
    """Return where a path of a node is on the host, as it was started, and if it is read only."""
    started = [argv for argv in simulation.ran if f"--hostname={node}" in argv][-1]
    binds = [split_bind(word) for word in started if word.startswith("--bind") and ":" in word]
    for option, (host, place, *_) in reversed(binds):
        if Path(path).is_relative_to(place):
            return Path(host) / Path(path).relative_to(place), option == "--bind-ro"
    return None, True
