"""One node's processes: boot, state, halt, tear down. No records are written here."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import ProviderError, ResourceError, TimeoutExceeded
from ohmykube.kit import failures, process, retry
from ohmykube.model.machine import MachineState
from ohmykube.providers.nspawn import host_mounts, layout, network, node_root, visible_size
from ohmykube.providers.nspawn.cgroups import Limits

if TYPE_CHECKING:
    from ohmykube.model.machine import MachineSpec
    from ohmykube.providers.nspawn.cgroups import Cgroups
    from ohmykube.providers.nspawn.host_system import HostSystem
    from ohmykube.providers.nspawn.layout import NodeFiles
    from ohmykube.providers.nspawn.records import MachineRecord
    from ohmykube.providers.nspawn.subnet import Subnet

BOOT_WAIT = retry.Wait(seconds=60, every=0.05, factor=1.2, longest=0.3)
STOP_WAIT = retry.Wait(seconds=8, every=0.05, factor=1.2, longest=0.3)
CALLS = "@keyring bpf @mount @privileged perf_event_open"
"""System calls that kubelets, container runtimes and CNI plugins need beyond nspawn's own list."""


class Machines:
    """Nodes as processes, mounts, namespaces and cgroups."""

    def __init__(self, host: HostSystem, cgroups: Cgroups) -> None:
        self._host = host
        self._cgroups = cgroups

    def state(self, record: MachineRecord, node: NodeFiles) -> MachineState:
        """Return the state of the machine of a record."""
        group = layout.node_group(record.cluster, record.node)
        if self._cgroups.leader(group) is not None:
            spaces = (
                layout.cluster_netns(record.cluster),
                layout.node_netns(record.cluster, record.node),
            )
            whole = record.complete and all(network.exists(self._host, s) for s in spaces)
            return MachineState.RUNNING if whole else MachineState.BROKEN
        if self._cgroups.pids(group) or not record.complete or not node.upper.is_dir():
            return MachineState.BROKEN
        return MachineState.STOPPED

    def limit(self, record: MachineRecord, node: NodeFiles) -> None:
        """Apply the record's limits to its running machine, which then sees them as its size.

        Raises:
            ProviderError: the kernel refuses, such as less memory than the machine uses.
        """
        limits = Limits(cpus=record.cpus, memory_mib=record.memory_mib)
        try:
            self._cgroups.limit(layout.node_group(record.cluster, record.node), limits)
        except OSError as error:
            raise ProviderError(
                f"node {record.node} did not get its limits of CPUs and memory",
                why=f"{error.strerror}; a running node may use more memory than it is to have",
                hint=f"ohmykube stop {record.cluster}, then run the same command again",
                id="OMK-P-126",
            ) from error
        visible_size.write(self._host, node, limits)

    def check_mounts(
        self, wanted: MachineSpec, record: MachineRecord | None, node: NodeFiles
    ) -> None:
        """Look whether a machine can get its mounts, or, where it runs, has them.

        Raises:
            ProviderError: it has others, or one of them is not on this host.
        """
        if record is not None and self.state(record, node) is MachineState.RUNNING:
            if record.mounts != wanted.mounts:
                raise host_mounts.others(record.node)
        else:
            host_mounts.check(wanted.node, wanted.mounts)

    def boot(self, record: MachineRecord, node: NodeFiles, subnet: Subnet) -> None:
        """Start the machine, whose root is mounted, and wait until it takes ssh connections.

        Raises:
            ProviderError: it does not come up; its processes are ended again.
        """
        host = self._host
        group = layout.node_group(record.cluster, record.node)
        network.make_node(host, record.cluster, record.node, subnet, subnet.number(record.address))
        self._cgroups.make(group)
        self.limit(record, node)
        node.console.unlink(missing_ok=True)
        joined = self._cgroups.join_files(group)
        pid = host.launch(joined, self._argv(record, node), node.console)
        with failures.undoing(lambda: self._cgroups.kill(group)):
            self._wait(record, node, pid)

    def _argv(self, record: MachineRecord, node: NodeFiles) -> list[str]:
        binds = [host_mounts.option(source, target) for source, target in node.binds]
        own_size = [
            host_mounts.option(source, target, read_only=True)
            for source, target in visible_size.binds(node)
        ]
        netns = self._host.netns / layout.node_netns(record.cluster, record.node)
        return [
            *("env", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1", "systemd-nspawn", "--quiet"),
            *("--register=no", "--keep-unit", "--link-journal=no", "--private-users=no"),
            f"--directory={node.root}",
            f"--machine={layout.machine_name(record.id, record.node)}",
            f"--hostname={record.node}",
            f"--network-namespace-path={netns}",
            *("--resolv-conf=off", "--timezone=off", "--capability=all", "--bind=/dev/kmsg"),
            *binds,
            *own_size,
            *host_mounts.options(record.mounts),
            f"--system-call-filter={CALLS}",
            "--boot",
        ]

    def _wait(self, record: MachineRecord, node: NodeFiles, pid: int) -> None:
        host = self._host
        inside = network.inside(host, record.cluster)
        probe = [*inside, "nc", "-z", "-w", "2", record.address, "22"]

        def answers() -> bool | None:
            if host.commands.run(probe, timeout=10, check=False).code == 0:
                return True
            return None if (host.proc / str(pid)).exists() else False

        message = f"node {record.node} did not start"
        hint = f"tail {node.console}"
        try:
            started = retry.until(host.clock, BOOT_WAIT, f"ssh of {record.node}", answers)
        except TimeoutExceeded as error:
            why = f"{error.message}\n{_console(node)}".strip()
            raise ProviderError(message, why=why, hint=hint, id="OMK-P-151") from error
        if not started:
            why = _console(node) or "systemd-nspawn ended at once"
            if "Too many open files" in why:
                hint = "sysctl -w fs.inotify.max_user_instances=4096"
                raise ResourceError(message, why=why, hint=hint, id="OMK-P-153")
            raise ProviderError(message, why=why, hint=hint, id="OMK-P-152")

    def halt(self, record: MachineRecord) -> None:
        """Ask the node's systemd to halt and give it some seconds, then end what is left."""
        group = layout.node_group(record.cluster, record.node)
        leader = self._cgroups.leader(group)
        if leader is not None:
            # systemd, as PID 1 of a container, halts on this (systemd(1), "Signals"). No constant
            # for it: macOS has no such signals, and this module is imported there too.
            self._cgroups.signal(leader, signal.SIGRTMIN + 3)
            with contextlib.suppress(TimeoutExceeded):
                retry.until(
                    self._host.clock,
                    STOP_WAIT,
                    f"node {record.node} to halt",
                    lambda: None if self._cgroups.pids(group) else True,
                )

    def tear_down(self, cluster: str, node: str, files: NodeFiles, identity: str) -> None:
        """End all processes of a node and remove what the kernel keeps for it; files stay."""
        group = layout.node_group(cluster, node)
        self._cgroups.kill(group)
        node_root.unmount(self._host, files)
        self._leftovers(layout.machine_name(identity, node))
        network.remove(self._host, layout.node_netns(cluster, node))
        self._cgroups.remove(group)

    def _leftovers(self, machine: str) -> None:
        # systemd-nspawn removes these at an orderly end only.
        for name in ("unix-export", "propagate"):
            path = Path("/run/systemd/nspawn") / name / machine
            for point in node_root.mounts_below(self._host, path):
                self._host.commands.run(["umount", "--lazy", point], timeout=30, check=False)
            with contextlib.suppress(OSError):
                path.rmdir()


def _console(node: NodeFiles) -> str:
    with contextlib.suppress(OSError):
        return process.tail(node.console.read_text(errors="replace"))
    return ""
