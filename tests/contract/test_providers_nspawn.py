"""What only real system containers can show: limits, survival, clean ends, two clusters at once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from outside import reach, traces

from ohmykube.kit import process
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.providers.base import CheckStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def test_a_node_is_what_kubernetes_needs(
    provider: NspawnProvider, cluster_name: str, tmp_path: Path
) -> None:
    spec = MachineSpec(cluster=cluster_name, node="cp1", cpus=1.5, memory_mib=700)
    machine = provider.create(spec)

    def ask(command: str) -> str:
        return reach(machine, tmp_path, command).stdout.strip()

    assert ask("hostname") == "cp1"
    assert ask("getent hosts cp1 | cut -d' ' -f1") == machine.address
    assert ask("cat /etc/resolv.conf") == "nameserver 10.88.0.1"
    assert ask("cat /proc/1/comm") == "systemd"
    assert ask("test -d /etc/cni/net.d -a -d /opt/cni/bin -a -c /dev/kmsg && echo yes") == "yes"
    assert ask("stat -f -c %T /var/lib/containerd") != "overlayfs"
    assert json.loads(ask("cat /etc/ohmykube/machine.json"))["cluster"] == cluster_name
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


def test_the_memory_limit_holds(
    provider: NspawnProvider, cluster_name: str, tmp_path: Path
) -> None:
    machine = provider.create(MachineSpec(cluster=cluster_name, node="cp1", memory_mib=300))
    eater = "python3 -c 'x = bytearray(600 << 20); print(len(x))'"
    assert reach(machine, tmp_path, eater).stdout == ""
    assert reach(machine, tmp_path, "echo still here").stdout == "still here\n"


def test_the_cpu_limit_is_set(provider: NspawnProvider, cluster_name: str) -> None:
    provider.create(MachineSpec(cluster=cluster_name, node="cp1", cpus=0.5))
    v1 = Path(f"/sys/fs/cgroup/cpu/omk/{cluster_name}/cp1/cpu.cfs_quota_us")
    v2 = Path(f"/sys/fs/cgroup/omk/{cluster_name}/cp1/cpu.max")
    found = v1.read_text() if v1.exists() else v2.read_text().split()[0]
    assert int(found) == 50_000


def test_nodes_reach_each_other_and_what_they_wrote_stays(
    provider: NspawnProvider, cluster_name: str, tmp_path: Path
) -> None:
    specs = [MachineSpec(cluster=cluster_name, node=node) for node in ("cp1", "w1")]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(provider.create, specs)
    assert reach(first, tmp_path, f"ping -c1 -W5 {second.address}").code == 0
    write = "echo kept >/root/kept; echo bound >/var/lib/etcd/kept; sync"
    assert reach(first, tmp_path, write).code == 0
    identity = reach(first, tmp_path, "cat /etc/machine-id").stdout
    assert identity != reach(second, tmp_path, "cat /etc/machine-id").stdout
    provider.stop(cluster_name, "cp1")
    again = provider.start(cluster_name, "cp1")
    assert again == first
    read = "cat /root/kept /var/lib/etcd/kept /etc/machine-id"
    assert reach(again, tmp_path, read).stdout == f"kept\nbound\n{identity}"


CREATE = """
import sys
from pathlib import Path
from ohmykube.kit.paths import Paths
from ohmykube.model.machine import MachineSpec
from ohmykube.progress import NullReporter
from ohmykube.providers.base import ProviderContext
from ohmykube.providers.nspawn.provider import NspawnProvider
home, cache, cluster = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
paths = Paths(state=home / "state", data=home / "data", cache=cache)
provider = NspawnProvider(ProviderContext(paths=paths, reporter=NullReporter()))
machine = provider.create(MachineSpec(cluster=cluster, node="cp1"))
print(*provider.api_endpoint(cluster, machine.address, 22))
"""


def create_argv(home: Path, cache: Path, cluster: str) -> list[str]:
    """Return the command line of a process that makes one node."""
    return [sys.executable, "-c", CREATE, str(home), str(cache), cluster]


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
    argv = create_argv(tmp_path, shared_cache, cluster_name)
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if begun():
                break
    child.kill()
    child.wait()
    if again == "create":
        machine = provider.create(MachineSpec(cluster=cluster_name, node="cp1"))
        assert reach(machine, tmp_path).code == 0
    provider.delete(cluster_name, "cp1")
    assert traces(cluster_name) == {}
    assert not (tmp_path / "data/nspawn").exists()


def test_nodes_outlive_the_process_that_made_them(
    provider: NspawnProvider, cluster_name: str, tmp_path: Path, shared_cache: Path
) -> None:
    argv = create_argv(tmp_path, shared_cache, cluster_name)
    result = process.run(argv, timeout=120)
    (machine,) = provider.list(cluster_name)
    assert machine.state is MachineState.RUNNING
    assert reach(machine, tmp_path).code == 0
    host, port = result.stdout.split()
    greeting = process.run(["nc", "-w", "3", host, port], timeout=10, check=False).stdout
    assert greeting.startswith("SSH-2.0")
    assert provider.api_endpoint(cluster_name, machine.address, 22) == (host, int(port))


def test_a_node_whose_init_was_killed_is_made_whole(
    provider: NspawnProvider,
    cluster_name: str,
    tmp_path: Path,
    eventually: Callable[[Callable[[], bool]], bool],
) -> None:
    made = provider.create(MachineSpec(cluster=cluster_name, node="cp1"))
    os.kill(leader(cluster_name, "cp1"), signal.SIGKILL)

    def down() -> bool:
        return provider.list(cluster_name)[0].state is not MachineState.RUNNING

    assert eventually(down)
    assert provider.create(MachineSpec(cluster=cluster_name, node="cp1")) == made
    assert reach(made, tmp_path).code == 0


def test_a_stop_ends_what_ignores_the_orderly_way(
    provider: NspawnProvider, cluster_name: str, tmp_path: Path
) -> None:
    machine = provider.create(MachineSpec(cluster=cluster_name, node="cp1"))
    # As a container of a runtime: its own session and namespaces, deaf to SIGTERM.
    deaf = (
        "setsid unshare -p -f sh -c 'trap \"\" TERM; while :; do sleep 1; done' >/dev/null 2>&1 &"
    )
    assert reach(machine, tmp_path, deaf).code == 0
    provider.stop(cluster_name, "cp1")
    left = traces(cluster_name)
    assert "processes" not in left
    assert "mounts" not in left or all("cp1" not in line for line in left["mounts"])
    assert [m.state for m in provider.list(cluster_name)] == [MachineState.STOPPED]


def test_nodes_come_back_when_the_kernel_has_forgotten_them(
    provider: NspawnProvider, cluster_name: str, tmp_path: Path
) -> None:
    made = provider.create(MachineSpec(cluster=cluster_name, node="cp1"))
    endpoint = provider.api_endpoint(cluster_name, made.address, 22)
    # As after a reboot: no process, mount, namespace, cgroup or claim is left.
    provider.stop(cluster_name, "cp1")
    provider._clusters._claims.release(cluster_name)
    assert traces(cluster_name) == {}
    assert provider.start(cluster_name, "cp1") == made
    assert reach(made, tmp_path).code == 0
    greeting = process.run(["nc", "-w", "3", *map(str, endpoint)], timeout=10, check=False)
    assert greeting.stdout.startswith("SSH-2.0")


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


def test_files_that_vanished_do_not_keep_the_node_alive(
    provider: NspawnProvider, cluster_name: str, tmp_path: Path
) -> None:
    machine = provider.create(MachineSpec(cluster=cluster_name, node="cp1"))
    directory = tmp_path / "data/nspawn" / cluster_name
    process.run(["umount", "--lazy", str(directory / "nodes/cp1/root")], timeout=10)
    shutil.rmtree(directory)
    assert reach(machine, tmp_path).code != 0, "its key is gone"
    assert traces(cluster_name)["processes"]
    provider.delete(cluster_name, "cp1")
    assert traces(cluster_name) == {}
