"""Base image, cgroups, checks, ports: what the provider's own tests do not reach."""

from __future__ import annotations

import ipaddress
import itertools
import shutil
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from simulated_host import Simulation

from ohmykube.errors import (
    LockedError,
    NetworkError,
    PrerequisiteError,
    ProviderError,
    ResourceError,
)
from ohmykube.kit import process
from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Network
from ohmykube.model.exposure import OWN_PORTS
from ohmykube.progress import ItemProgress, Status
from ohmykube.providers.base import Check, CheckStatus
from ohmykube.providers.lima import network as lima_network
from ohmykube.providers.nspawn import base_image, cgroups, layout, network, port_forward, preflight
from ohmykube.providers.nspawn.base_image import BaseImages, Recipe
from ohmykube.providers.nspawn.cgroups import Limits
from ohmykube.providers.nspawn.host_system import HostSystem, KernelCalls, run_checked
from ohmykube.providers.nspawn.subnet import Subnet
from ohmykube.testing.reporter import RecordingReporter
from tests.fake_clock import FakeClock
from tests.free_port import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from ohmykube.model.networks import IpNetwork

pytestmark = pytest.mark.linux

ONE_FAMILY = Subnet.of(("10.88.0.0/24",))


@pytest.fixture
def v1(tmp_path: Path) -> Simulation:
    return Simulation(root=tmp_path / "v1", version=1)


@pytest.fixture
def v2(tmp_path: Path) -> Simulation:
    return Simulation(root=tmp_path / "v2", version=2)


def paths_at(root: Path) -> Paths:
    return Paths(state=root / "s", data=root / "d", cache=root / "c")


class TestBaseImage:
    @pytest.fixture
    def reporter(self) -> RecordingReporter:
        return RecordingReporter()

    @pytest.fixture
    def images(self, v1: Simulation, tmp_path: Path, reporter: RecordingReporter) -> BaseImages:
        return BaseImages(v1.host(), paths_at(tmp_path), reporter, Recipe())

    def test_is_built_once_and_announced(
        self, v1: Simulation, images: BaseImages, reporter: RecordingReporter
    ) -> None:
        key = images.ensure()
        assert images.ensure() == key
        assert [argv[0] for argv in v1.ran] == ["mmdebstrap"]
        started, ended = reporter.of(ItemProgress)
        assert "about a minute" in started.activity
        assert ended.status is Status.OK

    def test_carries_no_identity_and_boots_fast(self, images: BaseImages) -> None:
        rootfs = images.rootfs(images.ensure())
        assert not (rootfs / "etc/machine-id").exists()
        assert not list(rootfs.glob("etc/ssh/ssh_host_*"))
        assert (rootfs / "etc/cni/net.d").is_dir()
        assert (rootfs / "opt/cni/bin").is_dir()
        masked = rootfs / "etc/systemd/system/apt-daily.timer"
        assert masked.readlink() == Path("/dev/null")
        wanted = rootfs / "etc/systemd/system/sysinit.target.wants/ohmykube-cgroups.service"
        assert wanted.is_symlink()
        unit = (rootfs / "etc/systemd/system/ohmykube-cgroups.service").read_text()
        assert "Before=sysinit.target containerd.service kubelet.service" in unit

    def test_any_change_of_the_recipe_has_its_own_key(self) -> None:
        plain = Recipe()
        others = [
            replace(plain, suite="trixie"),
            replace(plain, mirror="http://mirror"),
            replace(plain, arch="other"),
            replace(plain, packages=(*plain.packages, "vim")),
            replace(plain, version=2),
        ]
        assert len({recipe.key for recipe in [plain, *others]}) == 6
        assert Recipe().key == plain.key

    def test_a_mirror_is_handed_on(self, v1: Simulation, tmp_path: Path) -> None:
        recipe = Recipe(mirror="http://mirror.invalid/debian")
        BaseImages(v1.host(), paths_at(tmp_path), RecordingReporter(), recipe).ensure()
        assert v1.ran[0][-1] == "http://mirror.invalid/debian"

    @pytest.mark.parametrize(
        ("output", "kind"),
        [
            ("E: Failed to fetch http://deb.debian.org/x", NetworkError),
            ("Temporary failure resolving 'deb.debian.org'", NetworkError),
            ("write error: No space left on device", ResourceError),
            ("E: something else", ProviderError),
        ],
    )
    def test_a_failed_build_is_explained_and_leaves_nothing(
        self,
        v1: Simulation,
        images: BaseImages,
        tmp_path: Path,
        output: str,
        kind: type[ProviderError],
    ) -> None:
        v1.failing["mmdebstrap"] = output
        with pytest.raises(kind):
            images.ensure()
        assert [path.name for path in (tmp_path / "c/nspawn").iterdir()] == ["build.lock"]
        v1.failing.clear()
        assert images.rootfs(images.ensure()).is_dir()

    def test_no_space_is_found_before_the_build(
        self, v1: Simulation, images: BaseImages, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(base_image, "NEEDED_MIB", 1 << 40)
        with pytest.raises(ResourceError, match="not enough space"):
            images.ensure()
        assert v1.ran == []

    def test_what_a_killed_build_left_is_removed(
        self, v1: Simulation, images: BaseImages, tmp_path: Path
    ) -> None:
        stale = tmp_path / "c/nspawn/tmp-old/rootfs/proc"
        stale.mkdir(parents=True)
        v1.table.append((str(stale), "proc", "rw"))
        v1._write_mounts()
        (stale.parent / "upper").mkdir()
        images.ensure()
        assert not (tmp_path / "c/nspawn/tmp-old").exists()

    def test_two_at_once_build_once(self, v1: Simulation, tmp_path: Path) -> None:
        def build() -> None:
            BaseImages(v1.host(), paths_at(tmp_path), RecordingReporter(), Recipe()).ensure()

        threads = [threading.Thread(target=build) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [argv[0] for argv in v1.ran] == ["mmdebstrap"]


class TestCgroups:
    def test_the_layout_is_recognised(self, v1: Simulation, v2: Simulation) -> None:
        first, second = cgroups.detect(v1.host()), cgroups.detect(v2.host())
        assert (first.version, second.version) == (1, 2)
        assert len(first.tops) == 5
        assert second.tops == (v2.cgroup,)

    def test_none_is_an_error(self, v1: Simulation) -> None:
        v1.table = [("/", "ext4", "rw")]
        v1._write_mounts()
        with pytest.raises(PrerequisiteError, match="no cgroup hierarchies"):
            cgroups.detect(v1.host())

    def test_v2_enables_controllers_all_the_way_down(self, v2: Simulation) -> None:
        cgroups.detect(v2.host()).make(("omk", "dev", "cp1"))
        for path in (v2.cgroup, v2.cgroup / "omk", v2.cgroup / "omk/dev"):
            enabled = (path / "cgroup.subtree_control").read_text().split()
            assert {"cpu", "memory", "pids", "cpuset"} <= set(enabled)
        # A leaf delegates to the node's own systemd: nothing is enabled there by us.
        assert (v2.cgroup / "omk/dev/cp1/cgroup.subtree_control").read_text() == ""

    def test_v2_a_controller_that_no_kubelet_needs_may_be_refused(self, v2: Simulation) -> None:
        v2.failing["write cgroup.subtree_control +io"] = "busy"
        cgroups.detect(v2.host()).make(("omk", "dev", "cp1"))
        assert "io" not in (v2.cgroup / "cgroup.subtree_control").read_text().split()

    def test_v2_a_busy_root_is_explained(self, v2: Simulation) -> None:
        v2.failing["write cgroup.subtree_control +memory"] = "busy"
        with pytest.raises(PrerequisiteError, match="no controllers for memory") as error:
            cgroups.detect(v2.host()).make(("omk", "dev", "cp1"))
        assert error.value.why is not None
        assert "busy" in error.value.why

    def test_v2_kills_with_one_write_where_it_can(self, v2: Simulation) -> None:
        found = cgroups.detect(v2.host())
        found.make(("omk", "dev", "cp1"))
        (v2.cgroup / "omk/dev/cp1/cgroup.kill").write_text("")
        found.kill(("omk", "dev", "cp1"))
        assert (v2.cgroup / "omk/dev/cp1/cgroup.kill").read_text() == "1"

    @pytest.mark.parametrize("version", [1, 2])
    def test_a_top_that_another_run_removes_meanwhile(self, tmp_path: Path, version: int) -> None:
        class Busy(Simulation):
            stolen = 0

            def mkdir(self, group: Path) -> None:
                if group.name == "dev" and self.stolen < 2:
                    self.stolen += 1
                    super().rmdir(group.parent)
                super().mkdir(group)

        simulation = Busy(root=tmp_path / "busy", version=version)
        found = cgroups.detect(simulation.host())
        found.make(("omk", "dev", "cp1"))
        assert simulation.stolen == 2
        assert all(path.exists() for path in found.join_files(("omk", "dev", "cp1")))

    def test_v2_controllers_that_the_hosts_systemd_takes_back(self, tmp_path: Path) -> None:
        class Tidy(Simulation):
            taken = 0

            def mkdir(self, group: Path) -> None:
                if group.name == "omk" and self.taken < 2:
                    self.taken += 1
                    (group.parent / "cgroup.subtree_control").write_text("memory pids")
                super().mkdir(group)

        simulation = Tidy(root=tmp_path / "tidy", version=2)
        found = cgroups.detect(simulation.host())
        found.make(("omk", "dev", "cp1"))
        (node,) = (path.parent for path in found.join_files(("omk", "dev", "cp1")))
        assert simulation.taken == 2
        assert "cpu" in (node / "cgroup.controllers").read_text().split()

    def test_v2_a_top_that_goes_while_its_controllers_are_enabled(self, tmp_path: Path) -> None:
        class Busy(Simulation):
            stolen = 0

            def write(self, control: Path, text: str) -> None:
                if control.parent.name == "omk" and text == "+memory" and not self.stolen:
                    self.stolen += 1
                    super().rmdir(control.parent)
                    raise FileNotFoundError(control)
                super().write(control, text)

        simulation = Busy(root=tmp_path / "busy", version=2)
        found = cgroups.detect(simulation.host())
        found.make(("omk", "dev", "cp1"))
        assert simulation.stolen == 1
        assert all(path.exists() for path in found.join_files(("omk", "dev", "cp1")))

    def test_processes_below_the_group_count(self, v1: Simulation) -> None:
        found = cgroups.detect(v1.host())
        pod = ("omk", "dev", "cp1", "kubepods", "pod1")
        found.make(pod)
        (v1.cgroup / "pids/omk/dev/cp1/kubepods/pod1/cgroup.procs").write_text("77\n0\n")
        assert found.pids(("omk", "dev", "cp1")) == [77]
        assert found.pids(("omk", "dev-2", "cp1")) == []

    def test_a_process_that_cannot_be_ended_is_named(self, v1: Simulation) -> None:
        found = cgroups.detect(v1.host())
        found.make(("omk", "dev", "cp1"))
        (v1.cgroup / "pids/omk/dev/cp1/cgroup.procs").write_text("4242\n")
        with pytest.raises(ProviderError) as error:
            found.kill(("omk", "dev", "cp1"))
        assert error.value.why == "still there: 4242"

    def test_a_group_that_stays_is_an_error(self, v1: Simulation) -> None:
        found = cgroups.detect(v1.host())
        found.make(("omk", "dev", "cp1"))
        (v1.cgroup / "pids/omk/dev/cp1/cgroup.procs").write_text("4242\n")
        with pytest.raises(ProviderError, match="could not be removed"):
            found.remove(("omk", "dev", "cp1"))

    def test_pid_1_of_a_pod_is_no_leader(self, v1: Simulation) -> None:
        found = cgroups.detect(v1.host())
        group = ("omk", "dev", "cp1")
        found.make(group)
        for pid, ids, state in ((5, "5\t9\t1", "S"), (6, "6\t1", "Z"), (7, "7\t1", "S")):
            (v1.proc / str(pid)).mkdir()
            status = f"Name:\tx\nState:\t{state} (x)\nNSpid:\t{ids}\n"
            (v1.proc / str(pid) / "status").write_text(status)
        procs = v1.cgroup / "pids/omk/dev/cp1/cgroup.procs"
        procs.write_text("5\n6\n")
        assert found.leader(group) is None
        procs.write_text("5\n6\n7\n8\n")
        assert found.leader(group) == 7

    @pytest.mark.parametrize(
        ("cpus", "quota"), [(None, None), (2, 200_000), (0.5, 50_000), (0.001, 1000)]
    )
    def test_quota(self, cpus: float | None, quota: int | None) -> None:
        assert Limits(cpus=cpus).quota_us == quota


class TestChecks:
    def run(self, simulation: Simulation, root: Path, **more: object) -> dict[str, Check]:
        found = preflight.check(simulation.host(), paths_at(root), **more)  # type: ignore[arg-type]
        return {check.id: check for check in found}

    def run_for(
        self, simulation: Simulation, network: Network, *others: IpNetwork
    ) -> dict[str, Check]:
        found = preflight.networks(simulation.host(), network, others)
        return {check.id: check for check in found}

    def test_all_is_well(self, v1: Simulation, v2: Simulation, tmp_path: Path) -> None:
        for simulation in (v1, v2):
            found = self.run(simulation, tmp_path, uid=0)
            # nc is decided by the file it is a link to, the proxy by a file of this host.
            bad = [c.id for c in found.values() if c.status is CheckStatus.FAIL]
            assert set(bad) <= {"program-nc"}
        assert not v1.ran
        assert not (tmp_path / "d").exists()

    def test_without_root(self, v1: Simulation, tmp_path: Path) -> None:
        found = self.run(v1, tmp_path, uid=1000)["root"]
        assert found.status is CheckStatus.FAIL
        assert found.fix.startswith("sudo")

    def test_another_system(self, v1: Simulation, tmp_path: Path) -> None:
        (only,) = self.run(v1, tmp_path, system="darwin").values()
        assert (only.id, only.status) == ("linux", CheckStatus.FAIL)

    def test_a_missing_package_is_named(self, v1: Simulation, tmp_path: Path) -> None:
        v1.failing["which mmdebstrap"] = ""
        found = self.run(v1, tmp_path, uid=0)["program-mmdebstrap"]
        assert found.status is CheckStatus.FAIL
        assert found.packages == ("mmdebstrap",)

    @pytest.mark.parametrize("there", [True, False])
    def test_ipv6_is_asked_of_the_kernel_where_nodes_have_it(
        self, v1: Simulation, tmp_path: Path, there: bool
    ) -> None:
        (v1.proc / "net").mkdir()
        if there:
            (v1.proc / "net/if_inet6").write_text("")
        assert "ipv6" not in self.run_for(v1, Network())
        both = Network(pod_cidr="10.244.0.0/16,fd00:10:244::/56")
        found = self.run_for(v1, both)["ipv6"]
        assert (found.status, "podCIDR" in found.fix) == (
            (CheckStatus.OK, False) if there else (CheckStatus.FAIL, True)
        )

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ("auto", ""),
            ("10.77.0.0/24", ""),
            ("10.88.0.0/16", "10.88.0.0/16 overlaps 10.88.2.0/24"),
            ("10.77.0.0/24,fd00:10:88::/60", "fd00:10:88::/60 overlaps fd00:10:88::/64"),
        ],
    )
    def test_another_clusters_network_is_told_when_it_is_asked_for(
        self, v1: Simulation, tmp_path: Path, asked: str, said: str
    ) -> None:
        others = [ipaddress.ip_network(text) for text in ("10.88.2.0/24", "fd00:10:88::/64")]
        network = Network(machine_cidr=asked)
        found = self.run_for(v1, network, *others)
        assert ("machine-network" in found) is bool(said)
        if said:
            assert found["machine-network"].status is CheckStatus.WARN
            assert said in found["machine-network"].evidence

    def test_no_overlayfs(self, v1: Simulation, tmp_path: Path) -> None:
        (v1.proc / "filesystems").write_text("ext4\n")
        found = self.run(v1, tmp_path, uid=0)["overlayfs"]
        assert (found.status, found.fix) == (CheckStatus.FAIL, "modprobe overlay")

    def test_an_overlay_under_the_nodes(self, v1: Simulation, tmp_path: Path) -> None:
        v1.table.append((str(tmp_path), "overlay", "rw"))
        v1._write_mounts()
        found = self.run(v1, tmp_path, uid=0)["data-file-system"]
        assert found.status is CheckStatus.FAIL
        assert "OHMYKUBE_HOME" in found.fix

    def test_missing_controllers(self, v2: Simulation, tmp_path: Path) -> None:
        (v2.cgroup / "cgroup.controllers").write_text("cpu io\n")
        found = self.run(v2, tmp_path, uid=0)["cgroups"]
        assert found.status is CheckStatus.FAIL
        assert "memory, pids" in found.evidence

    def test_little_space(
        self, v1: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(preflight, "WANTED_GIB", 1 << 30)
        assert self.run(v1, tmp_path, uid=0)["disk-space"].status is CheckStatus.WARN

    def test_low_inotify_limits_are_mentioned(self, v1: Simulation, tmp_path: Path) -> None:
        limits = v1.proc / "sys/fs/inotify"
        limits.mkdir(parents=True)
        (limits / "max_user_instances").write_text("128\n")
        found = self.run(v1, tmp_path, uid=0)["inotify"]
        assert found.status is CheckStatus.NOTE
        assert "max_user_instances = 128" in found.evidence


class TestPorts:
    def test_stays_in_its_range_and_skips_what_is_taken(self) -> None:
        first = port_forward.choose("dev", (), lambda _port: True)
        assert port_forward.choose("dev", (), lambda port: port != first) == first + 1
        assert port_forward.choose("dev", {first}, lambda _port: True) == first + 1
        assert port_forward.FIRST_PORT <= first < port_forward.FIRST_PORT + port_forward.PORTS

    def test_a_port_for_life_is_none_that_anything_else_is_given(self) -> None:
        """The kernel gives ports to connections, Kubernetes to services, Lima to its clusters.

        What cannot have its own port on this host gets one of a further range.
        """
        ours = range(port_forward.FIRST_PORT, port_forward.FIRST_PORT + port_forward.PORTS)
        connections, services = range(32768, 61000), range(30000, 32768)
        for mine, others in itertools.combinations(
            (ours, lima_network.PORTS, OWN_PORTS, connections, services), 2
        ):
            assert not set(mine) & set(others)

    def test_none_is_left(self) -> None:
        with pytest.raises(LockedError, match="no port"):
            port_forward.choose("dev", (), lambda _port: False)

    def test_a_real_listener_is_seen(self) -> None:
        port = free_port()
        with socket.create_server(("127.0.0.1", port)):
            assert not KernelCalls().port_free(port)
        assert KernelCalls().port_free(port)


class TestNetwork:
    def test_a_name_without_a_namespace_is_removed(self, v1: Simulation) -> None:
        v1.failing["ip netns delete"] = "Invalid argument"
        (v1.netns / "omk-x").touch()
        network.remove(v1.host(), "omk-x")
        assert not (v1.netns / "omk-x").exists()

    def test_one_that_stays_is_an_error(self, v1: Simulation) -> None:
        v1.failing["ip netns delete"] = "Device or resource busy"
        (v1.netns / "omk-x").mkdir()
        with pytest.raises(ProviderError, match="omk-x could not be removed") as error:
            network.remove(v1.host(), "omk-x")
        assert error.value.why == "Device or resource busy"

    def test_a_half_made_cluster_network_is_made_anew(self, v1: Simulation) -> None:
        (v1.netns / "omk-dev").touch()
        v1.failing["ip -n omk-dev link show"] = "no such device"
        network.make_cluster(v1.host(), "dev", ONE_FAMILY)
        assert ("ip", "netns", "delete", "omk-dev") in v1.ran
        assert ("ip", "netns", "add", "omk-dev") in v1.ran

    @pytest.mark.parametrize("vanishing", [False, True])
    def test_a_left_over_port_of_the_bridge_is_replaced(
        self, v1: Simulation, *, vanishing: bool
    ) -> None:
        """After a sudden death the kernel ends it too, at any moment after it was looked at."""
        v1.vanishing = vanishing
        host = v1.host()
        network.make_cluster(host, "dev", ONE_FAMILY)
        v1.links.add(("omk-dev", "v11"))
        network.make_node(host, "dev", "cp1", ONE_FAMILY, 11)
        assert ("ip", "-n", "omk-dev", "link", "delete", "dev", "v11") in v1.ran
        assert ("omk-dev", "v11") in v1.links

    def test_a_port_that_stays_is_an_error(self, v1: Simulation) -> None:
        network.make_cluster(v1.host(), "dev", ONE_FAMILY)
        v1.links.add(("omk-dev", "v11"))
        v1.failing["ip -n omk-dev link delete"] = "RTNETLINK answers: Operation not permitted"
        with pytest.raises(ProviderError, match="make the network of node cp1") as error:
            network.make_node(v1.host(), "dev", "cp1", ONE_FAMILY, 11)
        assert "not permitted" in str(error.value.why)

    @pytest.mark.parametrize(
        "networks",
        [
            ("10.88.0.0/24",),
            ("fd00:7::/64",),
            ("10.9.8.0/24", "fd00:7::/64"),
            ("fd00:7::/64", "10.9.8.0/24"),
        ],
    )
    def test_nodes_have_an_address_and_a_gateway_of_each_family(
        self, v1: Simulation, networks: tuple[str, ...]
    ) -> None:
        """And the cluster's namespace forwards what it has addresses of, and nothing else."""
        subnet = Subnet.of(networks)
        network.make_cluster(v1.host(), "dev", subnet)
        network.make_node(v1.host(), "dev", "cp1", subnet, 11)
        lines = [line for text in v1.inputs for line in text.splitlines()]
        for text in networks:
            one = ipaddress.ip_network(text)
            nodad = " nodad" if one.version == 6 else ""
            assert f"address add {one[1]}/{one.prefixlen} dev br0{nodad}" in lines
            assert f"address add {one[11]}/{one.prefixlen} dev eth0{nodad}" in lines
            assert f"route add default via {one[1]}" in lines
        assert sum(line.startswith("address add") for line in lines) == 2 * len(networks)
        switches = " ".join(word for argv in v1.ran for word in argv if "/proc/sys/net" in word)
        assert ("ipv6/conf/all/forwarding" in switches) is any(":" in text for text in networks)
        assert ("ipv4/ip_forward" in switches) is any("." in text for text in networks)


class TestHost:
    def test_the_real_commands(self, tmp_path: Path) -> None:
        host = HostSystem(clock=FakeClock())
        assert run_checked(host, "speak", ["echo", "x"]).stdout == "x\n"
        with pytest.raises(ProviderError, match="could not speak") as error:
            run_checked(host, "speak", ["sh", "-c", "echo why >&2; exit 3"])
        assert error.value.why is not None
        assert "code 3: why" in error.value.why
        assert host.commands.which("sh")

    def test_a_launched_program_joins_first(
        self, tmp_path: Path, eventually: Callable[[Callable[[], bool]], bool]
    ) -> None:
        procs = [tmp_path / "a b", tmp_path / "c"]
        log = tmp_path / "log"
        HostSystem().launch(procs, ["sh", "-c", "echo $$ $1", "sh", "two words"], log)
        assert eventually(lambda: "two words" in log.read_text())
        pid = log.read_text().split()[0]
        assert [path.read_text().strip() for path in procs] == [pid, pid]

    def test_a_program_that_cannot_join_does_not_run(
        self, tmp_path: Path, eventually: Callable[[Callable[[], bool]], bool]
    ) -> None:
        log = tmp_path / "log"
        HostSystem().launch([tmp_path / "no/such"], ["echo", "ran"], log)
        assert eventually(lambda: log.read_text() != "")
        assert "ran" not in log.read_text()

    def test_mount_points_with_blanks(self, v1: Simulation) -> None:
        v1.table.append(("/mnt/a b", "ext4", "rw"))
        v1._write_mounts()
        assert v1.host().mounts()[-1][0] == "/mnt/a b"

    def test_the_kernel_calls(self, tmp_path: Path) -> None:
        kernel = KernelCalls()
        kernel.mkdir(tmp_path / "g")
        kernel.write(tmp_path / "g/x", "1")
        assert (tmp_path / "g/x").read_text() == "1"
        shutil.rmtree(tmp_path / "g")
        kernel.mkdir(tmp_path / "g")
        kernel.rmdir(tmp_path / "g")
        with pytest.raises(ProcessLookupError):
            kernel.kill(1 << 22, 0)


def test_names_cannot_clash() -> None:
    assert layout.node_netns("dev", "cp1") == "omk-dev.cp1"
    assert layout.node_netns("dev", "cp1") != layout.cluster_netns("dev-cp1")
    assert layout.machine_name("1", "cp1") != layout.machine_name("2", "cp1")
    assert len(layout.machine_name("1", "cp1")) <= 64


def test_a_failed_command_keeps_its_result(v1: Simulation) -> None:
    v1.failing["ip"] = "no"
    with pytest.raises(ProviderError) as error:
        run_checked(v1.host(), "x", ["ip"])
    assert isinstance(error.value.__cause__, process.CommandFailed)


def test_the_link_address_of_a_node_follows_from_its_address() -> None:
    """Restarted, it is found at once; two nodes of a cluster never have the same."""
    assert network.mac("10.88.0.11") == "02:00:0a:58:00:0b"
    for subnet in (ONE_FAMILY, Subnet.of(("fd00:10:88::/64",))):
        found = {network.mac(subnet.of_number(number)[0]) for number in subnet.numbers}
        assert len(found) == len(subnet.numbers) == 244
        assert all(
            subnet.number(subnet.of_number(number)[0]) == number for number in subnet.numbers
        )
