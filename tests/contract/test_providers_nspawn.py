"""What only real system containers can show: limits, survival, clean ends, two clusters at once."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from outside import new_cluster_name, reach, traces

from ohmykube.kit import process
from ohmykube.model.exposure import ExposedPort
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.providers.base import CheckStatus
from ohmykube.providers.nspawn import layout
from tests.contract.outside import create_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.context import ForkServerProcess

    from ohmykube.model.machine import Machine
    from ohmykube.providers.nspawn.provider import NspawnProvider

pytestmark = pytest.mark.nodes


@pytest.fixture
def provider(
    tmp_path: Path, cluster_name: str, nspawn_at: Callable[[Path], NspawnProvider]
) -> Iterator[NspawnProvider]:
    found = nspawn_at(tmp_path)
    found.prepare()
    yield found
    for cluster in found.clusters():
        for machine in found.list(cluster):
            found.delete(cluster, machine.node)
    assert traces(cluster_name) == {}


CPUS = 1.5
MEMORY_MIB = 700


@dataclass
class Kept:
    """A node that tests share: each begins by making it, or making it whole."""

    provider: NspawnProvider
    home: Path
    cluster: str

    def create(self) -> Machine:
        """Return the node, running."""
        wanted = MachineSpec(cluster=self.cluster, node="cp1", cpus=CPUS, memory_mib=MEMORY_MIB)
        return self.provider.create(wanted)


@pytest.fixture(scope="module")
def kept(
    tmp_path_factory: pytest.TempPathFactory, nspawn_at: Callable[[Path], NspawnProvider]
) -> Iterator[Kept]:
    home = tmp_path_factory.mktemp("kept")
    found = Kept(nspawn_at(home), home, new_cluster_name())
    found.provider.prepare()
    yield found
    for node in ("cp1", "w1"):
        found.provider.delete(found.cluster, node)
    assert traces(found.cluster) == {}


def leader(cluster: str, node: str) -> int:
    """Return the process id of a node's PID 1 as the host sees it."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            groups = (path / "cgroup").read_text()
            status = (path / "status").read_text()
        except OSError:
            continue
        if f"/omk/{cluster}/{node}" in groups and re.search(r"NSpid:\t\d+\t1\n", status):
            return int(path.name)
    raise AssertionError(f"no PID 1 of {node}")


def test_this_host_passes_its_own_checks(provider: NspawnProvider) -> None:
    assert [c for c in provider.check() if c.status is CheckStatus.FAIL] == []


def test_a_node_is_what_kubernetes_needs(kept: Kept, tmp_path: Path) -> None:
    machine = kept.create()

    def ask(command: str) -> str:
        return reach(machine, tmp_path, command).stdout.strip()

    assert ask("hostname") == "cp1"
    assert ask("getent hosts cp1 | cut -d' ' -f1") == machine.address
    assert ask("cat /etc/resolv.conf") == "nameserver 10.88.0.1"
    assert ask("cat /proc/1/comm") == "systemd"
    assert ask("test -d /etc/cni/net.d -a -d /opt/cni/bin -a -c /dev/kmsg && echo yes") == "yes"
    assert ask("stat -f -c %T /var/lib/containerd") != "overlayfs"
    assert json.loads(ask("cat /etc/ohmykube/machine.json"))["cluster"] == kept.cluster
    assert ask("systemctl is-system-running --wait") == "running"
    # The node may make cgroups in every controller it sees, and mount what a runtime mounts.
    made = ask(
        "for g in /sys/fs/cgroup /sys/fs/cgroup/*; do [ -e $g/cgroup.procs ] && "
        "{ mkdir $g/probe && rmdir $g/probe || echo no $g; }; done; "
        "mkdir /tmp/m && mount -t tmpfs x /tmp/m && umount /tmp/m && echo mounted"
    )
    assert made == "mounted"
    # Nothing answers beyond the cluster, and the refusal comes at once.
    assert "nreachable" in ask("ping -c1 -W5 192.0.2.1")


def test_the_memory_limit_holds(kept: Kept, tmp_path: Path) -> None:
    machine = kept.create()
    eater = f"python3 -c 'x = bytearray({2 * MEMORY_MIB} << 20); print(len(x))'"
    assert reach(machine, tmp_path, eater).stdout == ""
    assert reach(machine, tmp_path, "echo still here").stdout == "still here\n"


def test_the_cpu_limit_is_set(kept: Kept) -> None:
    kept.create()
    v1 = Path(f"/sys/fs/cgroup/cpu/omk/{kept.cluster}/cp1/cpu.cfs_quota_us")
    v2 = Path(f"/sys/fs/cgroup/omk/{kept.cluster}/cp1/cpu.max")
    found = v1.read_text() if v1.exists() else v2.read_text().split()[0]
    assert int(found) == CPUS * 100_000


def test_nodes_reach_each_other_and_what_they_wrote_stays(kept: Kept, tmp_path: Path) -> None:
    first = kept.create()
    second = kept.provider.create(MachineSpec(cluster=kept.cluster, node="w1"))
    assert reach(first, tmp_path, f"ping -c1 -W5 {second.address}").code == 0
    write = "echo kept >/root/kept; echo bound >/var/lib/etcd/kept; sync"
    assert reach(first, tmp_path, write).code == 0
    identity = reach(first, tmp_path, "cat /etc/machine-id").stdout
    assert identity != reach(second, tmp_path, "cat /etc/machine-id").stdout
    kept.provider.stop(kept.cluster, "cp1")
    again = kept.provider.start(kept.cluster, "cp1")
    assert again == first
    read = "cat /root/kept /var/lib/etcd/kept /etc/machine-id"
    assert reach(again, tmp_path, read).stdout == f"kept\nbound\n{identity}"
    kept.provider.delete(kept.cluster, "w1")


def test_a_node_whose_init_was_killed_is_made_whole(
    kept: Kept,
    tmp_path: Path,
    eventually: Callable[[Callable[[], bool]], bool],
) -> None:
    made = kept.create()
    os.kill(leader(kept.cluster, "cp1"), signal.SIGKILL)

    def down() -> bool:
        return kept.provider.list(kept.cluster)[0].state is not MachineState.RUNNING

    assert eventually(down)
    assert kept.create() == made
    assert reach(made, tmp_path).code == 0


def test_a_stop_ends_what_ignores_the_orderly_way(kept: Kept, tmp_path: Path) -> None:
    machine = kept.create()
    # As a container of a runtime: its own session and namespaces, deaf to SIGTERM.
    deaf = (
        "setsid unshare -p -f sh -c 'trap \"\" TERM; while :; do sleep 1; done' >/dev/null 2>&1 &"
    )
    assert reach(machine, tmp_path, deaf).code == 0
    kept.provider.stop(kept.cluster, "cp1")
    left = traces(kept.cluster)
    assert "processes" not in left
    assert "mounts" not in left or all("cp1" not in line for line in left["mounts"])
    assert [m.state for m in kept.provider.list(kept.cluster)] == [MachineState.STOPPED]


def test_nodes_come_back_when_the_kernel_has_forgotten_them(kept: Kept, tmp_path: Path) -> None:
    made = kept.create()
    endpoint = kept.provider.api_endpoint(kept.cluster, made.address, 22)
    # As after a reboot: no process, mount, namespace, cgroup or claim is left.
    kept.provider.stop(kept.cluster, "cp1")
    kept.provider._clusters._claims.release(kept.cluster)
    assert traces(kept.cluster) == {}
    assert kept.provider.start(kept.cluster, "cp1") == made
    assert reach(made, tmp_path).code == 0
    greeting = process.run(["nc", "-w", "3", *map(str, endpoint)], timeout=10, check=False)
    assert greeting.stdout.startswith("SSH-2.0")


def _greets(endpoint: tuple[str, int]) -> bool:
    found = process.run(["nc", "-w", "3", *map(str, endpoint)], timeout=10, check=False)
    return found.stdout.startswith("SSH-2.0")


@pytest.mark.parametrize("keepers_too", [False, True])
def test_what_holds_ports_of_the_host_is_back_with_them_when_it_was_killed(
    kept: Kept, eventually: Callable[[Callable[[], bool]], bool], *, keepers_too: bool
) -> None:
    """By itself; with the next command where what starts it again was killed as well."""
    made = kept.create()
    endpoint = kept.provider.api_endpoint(kept.cluster, made.address, 22)
    wanted = [ExposedPort(made.address, 22)]
    places = kept.provider.publish(kept.cluster, wanted)
    assert _greets(endpoint)
    group = layout.helper_group(kept.cluster, "ports")
    pids = kept.provider._cgroups.pids(group)
    (worker,) = [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() != "sh\n"]
    for pid in sorted(pids) if keepers_too else [worker]:
        kept.provider._cgroups.signal(pid, signal.SIGKILL)
    if keepers_too:
        assert eventually(lambda: not kept.provider._cgroups.pids(group))
        assert not _greets(endpoint)
        kept.provider.restore_helpers(kept.cluster)
        assert _greets(endpoint)
    else:
        assert eventually(lambda: worker not in kept.provider._cgroups.pids(group))
        assert eventually(lambda: _greets(endpoint))
    assert kept.provider.publish(kept.cluster, wanted) == places
    host, _, port = places[wanted[0]].rpartition(":")
    assert _greets((host, int(port)))


def test_files_that_vanished_do_not_keep_the_node_alive(kept: Kept, tmp_path: Path) -> None:
    machine = kept.create()
    directory = kept.home / "data/nspawn" / kept.cluster
    process.run(["umount", "--lazy", str(directory / "nodes/cp1/root")], timeout=10)
    shutil.rmtree(directory)
    assert reach(machine, tmp_path).code != 0, "its key is gone"
    assert traces(kept.cluster)["processes"]
    kept.provider.delete(kept.cluster, "cp1")
    assert traces(kept.cluster) == {}


def test_two_clusters_at_once_from_two_homes(
    cluster_name: str,
    tmp_path: Path,
    provider: NspawnProvider,
    nspawn_at: Callable[[Path], NspawnProvider],
) -> None:
    other = nspawn_at(tmp_path / "other")
    try:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(provider.create, MachineSpec(cluster=cluster_name, node="cp1"))
            second = pool.submit(other.create, MachineSpec(cluster=f"{cluster_name}-2", node="cp1"))
            machines = [first.result(), second.result()]
        # The same address twice: each cluster is in a network of its own.
        assert machines[0].address == machines[1].address
        for machine in machines:
            seen = reach(machine, tmp_path, "cat /etc/ohmykube/machine.json").stdout
            assert json.loads(seen)["cluster"] == machine.cluster
    finally:
        other.delete(f"{cluster_name}-2", "cp1")


PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.contract.outside"])


def in_a_process(
    home: Path, cache: Path, cluster: str, answer: Path | None = None
) -> ForkServerProcess:
    """Start a process that makes one node."""
    child = PROCESSES.Process(target=create_node, args=(home, cache, cluster, answer))
    child.start()
    return child


def _begun(name: str, home: Path) -> dict[str, Callable[[], bool]]:
    """Return the moments at which a creation is killed, as what can be seen by then."""
    node = home / "data/nspawn" / name / "nodes/cp1"
    mounted = f"{node}/root overlay"
    return {
        "directory": (home / "data/nspawn" / name).exists,
        "marker": (node / "machine.json").exists,
        "network": Path(f"/run/netns/omk-{name}").exists,
        "mount": lambda: mounted in Path("/proc/self/mounts").read_text(),
        "key": (node / "ssh_host_ed25519_key.pub").exists,
        "veth": Path(f"/run/netns/omk-{name}.cp1").exists,
        "process": (node / "console.log").exists,
        "complete": lambda: '"complete": true' in (node / "machine.json").read_text(),
    }


@pytest.mark.parametrize("again", ["create", "delete"])
@pytest.mark.parametrize("moment", list(_begun("x", Path())))
def test_killed_at_any_moment(
    provider: NspawnProvider,
    cluster_name: str,
    tmp_path: Path,
    shared_cache: Path,
    *,
    moment: str,
    again: str,
) -> None:
    begun = _begun(cluster_name, tmp_path)[moment]
    child = in_a_process(tmp_path, shared_cache, cluster_name)
    while child.is_alive():
        with contextlib.suppress(FileNotFoundError):
            if begun():
                break
    child.kill()
    child.join()
    if again == "create":
        machine = provider.create(MachineSpec(cluster=cluster_name, node="cp1"))
        assert reach(machine, tmp_path).code == 0
    provider.delete(cluster_name, "cp1")
    assert traces(cluster_name) == {}
    assert not (tmp_path / "data/nspawn").exists()


def test_nodes_outlive_the_process_that_made_them(
    provider: NspawnProvider, cluster_name: str, tmp_path: Path, shared_cache: Path
) -> None:
    answer = tmp_path / "answer"
    child = in_a_process(tmp_path, shared_cache, cluster_name, answer)
    child.join(120)
    assert child.exitcode == 0
    (machine,) = provider.list(cluster_name)
    assert machine.state is MachineState.RUNNING
    assert reach(machine, tmp_path).code == 0
    host, port = answer.read_text().split()
    greeting = process.run(["nc", "-w", "3", host, port], timeout=10, check=False).stdout
    assert greeting.startswith("SSH-2.0")
    assert provider.api_endpoint(cluster_name, machine.address, 22) == (host, int(port))
