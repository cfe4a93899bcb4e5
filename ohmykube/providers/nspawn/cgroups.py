"""Cgroups of clusters and nodes, the same for both versions: make, join, count, kill, remove.

A group is a tuple of names below the top of each hierarchy, such as ``("omk", "dev", "cp1")``.
"""

from __future__ import annotations

import abc
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import PrerequisiteError, ProviderError, TimeoutExceeded
from ohmykube.kit import retry, shell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ohmykube.providers.nspawn.host_system import HostSystem

Group = tuple[str, ...]
PERIOD_US = 100_000
_KILL_WAIT = retry.Wait(seconds=10, every=0.01, factor=1.5, longest=0.2)
_MAKE_ATTEMPTS = 5
_REMOVE_WAIT = retry.Wait(seconds=5, every=0.01, factor=1.5, longest=0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a node may use; None is no limit."""

    cpus: float | None = None
    memory_mib: int | None = None

    @property
    def quota_us(self) -> int | None:
        """Microseconds of CPU time in each period of ``PERIOD_US``."""
        return None if self.cpus is None else max(1000, round(self.cpus * PERIOD_US))

    @property
    def memory_bytes(self) -> int | None:
        """Memory limit in bytes."""
        return None if self.memory_mib is None else self.memory_mib << 20


class Cgroups(abc.ABC):
    """The host's hierarchies. ``tops`` are their mount points."""

    version: int

    def __init__(self, host: HostSystem, tops: Iterable[Path]) -> None:
        self._host = host
        self.tops = tuple(tops)

    def make(self, group: Group) -> None:
        """Make a group that processes can join; repeatable.

        Raises:
            PrerequisiteError: the host does not let us.
        """
        for _ in range(_MAKE_ATTEMPTS - 1):
            # Whoever deletes the last other cluster at this moment takes the empty top away; and
            # the host's systemd takes controllers back that none of its units uses, until a group
            # of ours has them enabled.
            with contextlib.suppress(FileNotFoundError, PrerequisiteError):
                self._make(group)
                return
        self._make(group)

    @abc.abstractmethod
    def _make(self, group: Group) -> None: ...

    @abc.abstractmethod
    def limit(self, group: Group, limits: Limits) -> None:
        """Apply limits to a group made before."""

    def _paths(self, group: Group) -> list[Path]:
        return [top.joinpath(*group) for top in self.tops]

    def _mkdir(self, path: Path) -> None:
        with contextlib.suppress(FileExistsError):
            self._host.kernel.mkdir(path)

    def _write(self, path: Path, text: str) -> None:
        self._host.kernel.write(path, text)

    def join_files(self, group: Group) -> tuple[Path, ...]:
        """Return the files a process writes its id to, to move into ``group``."""
        return tuple(path / "cgroup.procs" for path in self._paths(group))

    def exists(self, group: Group) -> bool:
        """Tell whether the group is there in any hierarchy."""
        return any(path.is_dir() for path in self._paths(group))

    def pids(self, group: Group) -> list[int]:
        """Return the processes in the group and below it, in all hierarchies, sorted."""
        found: set[int] = set()
        for path in self._paths(group):
            for directory in _below(path):
                found.update(_read_pids(directory / "cgroup.procs"))
        found.discard(0)  # a process of another pid namespace
        return sorted(found)

    def leader(self, group: Group) -> int | None:
        """Return the process that is PID 1 of the system container in ``group``.

        It is the one with exactly two process ids, the second of which is 1; those of pods, which
        have namespaces of their own, have three.
        """
        for pid in self.pids(group):
            with contextlib.suppress(OSError):
                status = (self._host.proc / str(pid) / "status").read_text()
                facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
                ids = facts.get("NSpid", "").split()
                if len(ids) == 2 and ids[1] == "1" and facts["State"].split()[0] != "Z":
                    return pid
        return None

    def signal(self, pid: int, number: int) -> None:
        """Send a signal; a process that is gone is no error."""
        with contextlib.suppress(ProcessLookupError):
            self._host.kernel.kill(pid, number)

    def kill(self, group: Group) -> None:
        """End every process in the group and below it.

        Raises:
            ProviderError: some did not end.
        """
        # PID 1 of the container first: with it the kernel ends its whole namespace at once, so
        # nothing forks faster than the loop below kills.
        leader = self.leader(group)
        if leader is not None:
            self.signal(leader, signal.SIGKILL)

        def empty() -> bool | None:
            left = self.pids(group)
            for pid in left:
                self.signal(pid, signal.SIGKILL)
            return None if left else True

        what = "/".join(group)
        try:
            retry.until(self._host.clock, _KILL_WAIT, f"the processes of {what} to end", empty)
        except TimeoutExceeded as error:
            raise ProviderError(
                f"processes of {what} could not be ended",
                why="still there: " + ", ".join(map(str, self.pids(group))),
                hint=f"ps -o pid,stat,cmd -p {shell.word(','.join(map(str, self.pids(group))))}",
                id="OMK-P-121",
            ) from error

    def remove(self, group: Group) -> None:
        """Remove the group with all below it; it must hold no process. None is fine.

        Raises:
            ProviderError: the kernel keeps it.
        """
        what = "/".join(group)
        try:
            retry.until(
                self._host.clock, _REMOVE_WAIT, f"cgroup {what} to go", lambda: self._gone(group)
            )
        except TimeoutExceeded as error:
            raise ProviderError(
                f"cgroup {what} could not be removed",
                why=error.message,
                hint="ohmykube down",
                id="OMK-P-122",
            ) from error

    def _gone(self, group: Group) -> bool | None:
        for path in self._paths(group):
            for directory in sorted(_below(path), key=lambda p: len(p.parts), reverse=True):
                with contextlib.suppress(OSError):
                    self._host.kernel.rmdir(directory)
        return None if self.exists(group) else True

    def remove_if_empty(self, group: Group) -> None:
        """Remove a group that has nothing below it, else leave it."""
        for path in self._paths(group):
            with contextlib.suppress(OSError):
                self._host.kernel.rmdir(path)


class CgroupsV1(Cgroups):
    """One tree per controller, as mounted; also the named one and the bare v2 tree of a hybrid."""

    version = 1

    def _make(self, group: Group) -> None:
        """Make the group in every hierarchy."""
        for top in self.tops:
            path = top
            for name in group:
                parent, path = path, path / name
                self._mkdir(path)
                for setting in ("cpuset.cpus", "cpuset.mems"):
                    # A new cpuset is empty, and an empty one takes no process.
                    if (parent / setting).exists():
                        self._inherit(parent / setting, path / setting)

    def _inherit(self, source: Path, target: Path) -> None:
        if not target.exists() or not target.read_text().strip():
            self._write(target, source.read_text().strip())

    def limit(self, group: Group, limits: Limits) -> None:
        """Set the CFS quota and the memory limit; -1 takes a limit away."""
        quota = -1 if limits.quota_us is None else limits.quota_us
        memory = -1 if limits.memory_bytes is None else limits.memory_bytes
        for path in self._paths(group):
            if (path / "cpu.cfs_quota_us").exists():
                self._write(path / "cpu.cfs_period_us", str(PERIOD_US))
                self._write(path / "cpu.cfs_quota_us", str(quota))
            if (path / "memory.limit_in_bytes").exists():
                self._write(path / "memory.limit_in_bytes", str(memory))


class CgroupsV2(Cgroups):
    """The one tree. Nodes and forwarders are leaves to us: inner groups hold no process.

    systemd-nspawn puts itself and the node's systemd into two groups below the node's.
    """

    version = 2
    WANTED = ("cpuset", "cpu", "io", "memory", "pids", "hugetlb")
    NEEDED = frozenset({"cpu", "memory", "pids"})
    """Without these no kubelet runs."""

    def _make(self, group: Group) -> None:
        """Make the group, with controllers enabled in each of its ancestors."""
        (path,) = self.tops
        for name in group:
            self._enable(path)
            path = path / name
            self._mkdir(path)

    def _enable(self, path: Path) -> None:
        offered = (path / "cgroup.controllers").read_text().split()
        enabled = (path / "cgroup.subtree_control").read_text().split()
        missing = self.NEEDED.difference(offered)
        why = f"{path} offers {' '.join(offered) or 'none'}"
        for controller in self.WANTED:
            if controller in offered and controller not in enabled:
                try:
                    # One at a time: one that is refused must not keep the others out.
                    self._write(path / "cgroup.subtree_control", f"+{controller}")
                except FileNotFoundError:
                    # The group is gone, or the one above no longer hands that controller down.
                    raise
                except OSError as error:
                    if controller in self.NEEDED:
                        missing |= {controller}
                        why = f"{path}/cgroup.subtree_control: {error.strerror}"
        if missing:
            raise PrerequisiteError(
                f"this host gives its cgroups no controllers for {', '.join(sorted(missing))}",
                why=why,
                hint=f"cat {shell.word(path / 'cgroup.procs')}  "
                "(in a container, its root cgroup must hold none)",
                id="OMK-P-123",
            )

    def limit(self, group: Group, limits: Limits) -> None:
        """Set ``cpu.max`` and ``memory.max``."""
        (path,) = self._paths(group)
        quota = "max" if limits.quota_us is None else str(limits.quota_us)
        memory = "max" if limits.memory_bytes is None else str(limits.memory_bytes)
        self._write(path / "cpu.max", f"{quota} {PERIOD_US}")
        self._write(path / "memory.max", memory)

    def kill(self, group: Group) -> None:
        """End the whole group at once where the kernel (5.14 and later) can."""
        (path,) = self._paths(group)
        with contextlib.suppress(OSError):
            if (path / "cgroup.kill").exists():
                self._write(path / "cgroup.kill", "1")
        super().kill(group)


def detect(host: HostSystem) -> Cgroups:
    """Return the host's cgroups.

    Raises:
        PrerequisiteError: no layout that we know is mounted.
    """
    tops: list[Path] = []
    for point, kind, _options in host.mounts():
        path = Path(point)
        if kind == "cgroup2" and path == host.cgroup:
            return CgroupsV2(host, [path])
        if kind in ("cgroup", "cgroup2") and path.parent == host.cgroup and path not in tops:
            tops.append(path)
    if not any((top / "memory.limit_in_bytes").exists() for top in tops):
        raise PrerequisiteError(
            f"no cgroup hierarchies are mounted at {host.cgroup}",
            why="found: " + (", ".join(top.name for top in tops) or "nothing"),
            hint="grep cgroup /proc/mounts",
            id="OMK-P-124",
        )
    return CgroupsV1(host, tops)


def offered(cgroups: Cgroups) -> None:
    """Check that the controllers that a kubelet needs are available.

    Raises:
        PrerequisiteError: they are not.
    """
    (top, *_) = cgroups.tops
    if cgroups.version == 2:
        found = (top / "cgroup.controllers").read_text().split()
    else:
        found = [name for path in cgroups.tops for name in path.name.split(",")]
    missing = CgroupsV2.NEEDED.difference(found)
    if missing:
        raise PrerequisiteError(
            f"this host has no cgroup controllers for {', '.join(sorted(missing))}",
            why=f"{top} offers {' '.join(found) or 'none'}",
            hint="cat /proc/cgroups  (the kernel's command line may disable some)",
            id="OMK-P-125",
        )


def _below(path: Path) -> Iterator[Path]:
    # os.walk looks no further where a directory vanishes under it, which is what we want.
    for root, _directories, _files in os.walk(path):
        yield Path(root)


def _read_pids(path: Path) -> list[int]:
    try:
        return [int(line) for line in path.read_text().split()]
    except OSError:  # gone, or a threaded group
        return []
