"""The nspawn provider on a simulated host: conformance, crashes, reboots, other people's things."""

from __future__ import annotations

import itertools
import json
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from simulated_host import Simulation, path_seen

from ohmykube.errors import (
    ConfigError,
    IntegrityError,
    LockedError,
    NotFoundError,
    ProviderError,
    ResourceError,
)
from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Cluster, Node, Role
from ohmykube.model.exposure import ExposedPort
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.model.outside import Outside
from ohmykube.progress import Message
from ohmykube.providers.base import NewTemplate, ProviderContext
from ohmykube.providers.nspawn import clusters, layout
from ohmykube.providers.nspawn.provider import NspawnProvider
from ohmykube.testing.conformance import ExposureConformance, ProviderConformance, Subject
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.linux

ONE = MachineSpec(cluster="dev", node="cp1", cpus=1.5, memory_mib=2048)
TWO = MachineSpec(cluster="dev", node="w1")


@pytest.fixture(params=[1, 2], ids=["cgroup-v1", "cgroup-v2"])
def simulation(request: pytest.FixtureRequest, tmp_path: Path) -> Simulation:
    return Simulation(root=tmp_path / "host", version=request.param)


def provider_at(simulation: Simulation, home: Path, **options: object) -> NspawnProvider:
    cluster = None
    if options:
        cluster = Cluster(
            name="dev",
            kubernetes_version="1.36.3",
            provider="nspawn",
            nodes=(),
            provider_options=options,
        )
    paths = Paths(state=home / "s", data=home / "d", cache=home / "c")
    context = ProviderContext(paths=paths, reporter=RecordingReporter(), cluster=cluster)
    return NspawnProvider(context, simulation.host())


@pytest.fixture
def provider(simulation: Simulation, tmp_path: Path) -> NspawnProvider:
    return provider_at(simulation, tmp_path)


def test_a_host_that_is_not_linux_has_none_of_our_machines(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    """``down`` asks every provider, on macOS too."""
    (simulation.proc / "self" / "mounts").unlink()
    assert provider.clusters() == ()
    assert provider.list("dev") == ()
    provider.sweep_templates()


def files_left(home: Path) -> list[str]:
    return [str(path.relative_to(home)) for path in (home / "d").rglob("*")]


class TestConformance(ProviderConformance):
    @pytest.fixture
    def subject(self, simulation: Simulation, tmp_path: Path) -> Iterator[Subject]:
        def damage(cluster: str, node: str) -> None:
            path = tmp_path / f"d/nspawn/{cluster}/nodes/{node}/machine.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"complete": False}))

        host = simulation.host()

        def answers(machine: object) -> bool:
            name = f"omk-{machine.cluster}.{machine.node}"  # type: ignore[attr-defined]
            return (host.netns / name).exists()

        def read(_cluster: str, node: str, path: str) -> str:
            file, _ = path_seen(simulation, node, path)
            return file.read_text() if file is not None and file.is_file() else ""

        def write(_cluster: str, node: str, path: str) -> bool:
            file, read_only = path_seen(simulation, node, path)
            if file is not None and not read_only:
                file.write_text("written")
            return not read_only

        yield Subject(
            open=lambda _cluster: provider_at(simulation, tmp_path),
            cluster="dev",
            other="dev-2",
            nodes=("cp1", "w1"),
            answers=answers,
            damage=damage,
            read=read,
            write=write,
        )
        for cluster in ("dev", "dev-2"):
            for node in ("cp1", "w1"):
                provider_at(simulation, tmp_path).delete(cluster, node)
        assert simulation.traces() == []
        assert files_left(tmp_path) == []


class TestExposure(ExposureConformance):
    @pytest.fixture
    def subject(self, simulation: Simulation, tmp_path: Path) -> Iterator[Subject]:
        def reached(place: str, port: ExposedPort) -> bool:
            return any(held.get(port) == place for held in simulation.held.values())

        yield Subject(
            open=lambda _cluster: provider_at(simulation, tmp_path),
            cluster="dev",
            other="dev-2",
            nodes=("cp1", "w1"),
            reached=reached,
        )
        for cluster in ("dev", "dev-2"):
            provider_at(simulation, tmp_path).delete(cluster, "cp1")
        assert simulation.traces() == []
        assert files_left(tmp_path) == []


def test_making_a_provider_touches_nothing(simulation: Simulation, tmp_path: Path) -> None:
    provider_at(simulation, tmp_path)
    assert simulation.ran == []
    assert not (tmp_path / "d").exists()
    assert not simulation.run_dir.exists()


def test_a_node_knows_itself(provider: NspawnProvider, tmp_path: Path) -> None:
    machine = provider.create(ONE)
    root = tmp_path / "d/nspawn/dev/nodes/cp1/root"
    assert (root / "etc/hosts").read_text().splitlines() == [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost",
        "10.88.0.11 cp1",
    ]
    assert (root / "etc/resolv.conf").read_text() == "nameserver 10.88.0.1\n"
    assert (root / "etc/hostname").read_text() == "cp1\n"
    marker = json.loads((root / "etc/ohmykube/machine.json").read_text())
    assert (marker["cluster"], marker["node"]) == ("dev", "cp1")
    assert (root / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert machine.ssh is not None
    assert machine.ssh.on_this_host
    assert machine.ssh.known_hosts is not None
    (line,) = machine.ssh.known_hosts.read_text().splitlines()
    assert line.startswith("10.88.0.11 ssh-ed25519 AAAA")


def test_limits_are_applied_and_changed(simulation: Simulation, provider: NspawnProvider) -> None:
    provider.create(ONE)
    if simulation.version == 1:
        group = simulation.cgroup / "cpu/omk/dev/cp1"
        memory = simulation.cgroup / "memory/omk/dev/cp1/memory.limit_in_bytes"
        assert (group / "cpu.cfs_quota_us").read_text() == "150000"
        assert (group / "cpu.cfs_period_us").read_text() == "100000"
        assert memory.read_text() == str(2048 << 20)
        cpus = simulation.cgroup / "cpuset/omk/dev/cp1/cpuset.cpus"
        assert cpus.read_text() == "0-1"
        provider.create(replace(ONE, cpus=None, memory_mib=None))
        assert (group / "cpu.cfs_quota_us").read_text() == "-1"
        assert memory.read_text() == "-1"
    else:
        group = simulation.cgroup / "omk/dev/cp1"
        assert (group / "cpu.max").read_text() == "150000 100000"
        assert (group / "memory.max").read_text() == str(2048 << 20)
        provider.create(replace(ONE, cpus=None, memory_mib=None))
        assert (group / "cpu.max").read_text() == "max 100000"
        assert (group / "memory.max").read_text() == "max"


def test_limits_that_the_kernel_refuses(simulation: Simulation, provider: NspawnProvider) -> None:
    provider.create(ONE)
    control = {1: "memory.limit_in_bytes", 2: "memory.max"}[simulation.version]
    simulation.failing[f"write {control} {1024 << 20}"] = "busy"
    with pytest.raises(ProviderError, match="did not get its limits") as error:
        provider.create(replace(ONE, memory_mib=1024))
    assert error.value.id == "OMK-P-126"
    assert "more memory than it is to have" in str(error.value.why)
    provider.create(ONE)


@pytest.mark.parametrize("ends", ["stop", "delete", "reboot", "death", "freeze"])
def test_what_is_gone_is_deleted(
    simulation: Simulation, provider: NspawnProvider, tmp_path: Path, ends: str
) -> None:
    """Deleting succeeds when the kernel, or anybody else, is faster, however a machine ends."""
    made = provider.create(ONE)
    provider.create(TWO)
    provider.api_endpoint("dev", made.address, 6443)
    simulation.vanishing = True
    match ends:
        case "stop":
            provider.stop("dev", "cp1")
        case "delete":
            provider.delete("dev", "cp1")
        case "freeze":
            new = NewTemplate(key="0123456789abcdef", role="worker", summary="s")
            provider.freeze("dev", "cp1", new)
            provider.remove_template(new.key)
            provider.remove_template(new.key)
        case "reboot":
            simulation.reboot()
        case "death":
            for path in simulation.proc.glob("[0-9]*"):
                simulation._end(int(path.name))
    assert provider.create(ONE) == made
    assert provider.start("dev", "w1").state is MachineState.RUNNING
    for node in ("cp1", "w1"):
        provider.delete("dev", node)
    assert simulation.traces() == []
    assert files_left(tmp_path) == []


@pytest.mark.parametrize("program", ["umount", "ip -n omk-dev link delete"])
def test_what_stays_is_not_called_deleted(
    simulation: Simulation, provider: NspawnProvider, program: str
) -> None:
    """Only what is gone counts as such: a deletion that the kernel refuses is an error."""
    provider.create(ONE)
    for path in simulation.proc.glob("[0-9]*"):
        simulation._end(int(path.name))
    simulation.links.add(("omk-dev", "v11"))
    simulation.failing[program] = "Operation not permitted"
    with pytest.raises(ProviderError) as error:
        provider.start("dev", "cp1")
    assert "not permitted" in str(error.value.why)


@pytest.mark.parametrize(
    ("cpus", "memory_mib", "online", "kib"),
    [
        (1, 1024, "0", 1024 << 10),
        (1.5, 2048, "0,1", 2048 << 10),
        (0.5, 512, "0", 512 << 10),
        (3, 4096, "0,1,2", 4096 << 10),
        (64, 1 << 20, "0,1,2,5", 8_000_000),
        (None, None, "0,1,2,5", 8_000_000),
    ],
)
def test_a_node_sees_its_limits_as_its_size(
    simulation: Simulation,
    provider: NspawnProvider,
    tmp_path: Path,
    *,
    cpus: float | None,
    memory_mib: int | None,
    online: str,
    kib: int,
) -> None:
    """A kubelet takes what these files say for the node's capacity; what it never is is the host's.

    They stay the same files: a node that runs has them mounted.
    """
    size = tmp_path / "d/nspawn/dev/nodes/cp1/size"
    provider.create(ONE)
    inodes = {path.name: path.stat().st_ino for path in size.iterdir()}
    (argv,) = [argv for argv in simulation.ran if "systemd-nspawn" in argv]
    binds = [one.removeprefix("--bind-ro=") for one in argv if one.startswith("--bind-ro=")]
    assert binds == [
        f"{size}:/run/ohmykube/size",
        "/run/ohmykube/size/meminfo:/proc/meminfo",
        f"{size}/cpus-online:/sys/devices/system/cpu/online",
    ]
    provider.create(replace(ONE, cpus=cpus, memory_mib=memory_mib))
    assert {path.name: path.stat().st_ino for path in size.iterdir()} == inodes
    assert (size / "cpus-online").read_text() == online + "\n"
    told = dict(line.split(":") for line in (size / "meminfo").read_text().splitlines())
    assert told["MemTotal"].split() == [str(kib), "kB"]
    assert told["SwapTotal"].split() == ["0", "kB"]


def test_a_host_that_keeps_all_cpus_online_tells_nothing_of_them(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    (simulation.sys / "devices/system/cpu/online").unlink()
    provider.create(ONE)
    (argv,) = [argv for argv in simulation.ran if "systemd-nspawn" in argv]
    assert not [one for one in argv if one.endswith("cpu/online")]


def test_nodes_come_back_after_a_reboot_as_they_were(
    simulation: Simulation, provider: NspawnProvider, tmp_path: Path
) -> None:
    made = [provider.create(ONE), provider.create(TWO)]
    endpoint = provider.api_endpoint("dev", made[0].address, 6443)
    keys = (tmp_path / "d/nspawn/dev/known_hosts").read_text()
    simulation.reboot()
    again = provider_at(simulation, tmp_path)
    assert [m.state for m in again.list("dev")] == [MachineState.STOPPED] * 2
    assert [again.start("dev", node) for node in ("cp1", "w1")] == made
    assert (tmp_path / "d/nspawn/dev/known_hosts").read_text() == keys
    assert ports_led(simulation) == {endpoint[1]}, "the API's port answers again by itself"


def test_a_reboot_and_then_delete_leaves_nothing(
    simulation: Simulation, provider: NspawnProvider, tmp_path: Path
) -> None:
    provider.create(ONE)
    simulation.reboot()
    provider_at(simulation, tmp_path).delete("dev", "cp1")
    assert simulation.traces() == []
    assert files_left(tmp_path) == []


def test_stop_is_orderly_first(simulation: Simulation, provider: NspawnProvider) -> None:
    provider.create(ONE)
    provider.stop("dev", "cp1")
    assert simulation.signals[0][1] == signal.SIGRTMIN + 3
    # systemd ended by itself; what is killed is the rest, and PID 1 is not among it.
    assert (simulation.signals[0][0], 9) not in simulation.signals


def test_a_deaf_node_is_stopped_all_the_same(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    provider.create(ONE)
    simulation.deaf = True
    provider.stop("dev", "cp1")
    assert [m.state for m in provider.list("dev")] == [MachineState.STOPPED]
    assert not list(simulation.proc.glob("[0-9]*"))


def test_stop_of_the_last_node_frees_the_port_but_keeps_the_promise(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    machine = provider.create(ONE)
    endpoint = provider.api_endpoint("dev", machine.address, 6443)
    provider.stop("dev", "cp1")
    assert ports_led(simulation) == set()
    provider.start("dev", "cp1")
    assert ports_led(simulation) == {endpoint[1]}


def test_an_occupied_port_is_named(simulation: Simulation, provider: NspawnProvider) -> None:
    machine = provider.create(ONE)
    endpoint = provider.api_endpoint("dev", machine.address, 6443)
    provider.stop("dev", "cp1")
    provider.start("dev", "cp1")
    provider.stop("dev", "cp1")
    simulation.listening.add(endpoint[1])
    with pytest.raises(LockedError, match=f"port {endpoint[1]} of 127.0.0.1, .* is taken"):
        provider.start("dev", "cp1")
    simulation.listening.clear()
    provider.start("dev", "cp1")
    assert ports_led(simulation) == {endpoint[1]}


def test_two_clusters_get_different_ports(provider: NspawnProvider) -> None:
    ports = set()
    for cluster in ("dev", "dev-2"):
        machine = provider.create(replace(ONE, cluster=cluster))
        ports.add(provider.api_endpoint(cluster, machine.address, 6443)[1])
    assert len(ports) == 2


@pytest.mark.parametrize("killed", [*itertools.product((True, False), repeat=3)])
def test_helpers_that_ended_are_back_with_their_ports(
    simulation: Simulation, provider: NspawnProvider, tmp_path: Path, killed: tuple[bool, ...]
) -> None:
    """Whichever of a cluster's helpers were killed; what runs is left alone."""
    machine = provider.create(ONE)
    provider.open_outside("dev", Outside(everything=True))
    endpoint = provider.api_endpoint("dev", machine.address, 6443)
    wanted = [ExposedPort(machine.address, 80)]
    places = provider.publish("dev", wanted)
    groups = [layout.helper_group("dev", name) for name in ("ports", "uplink", "resolver")]
    before = {group: provider._cgroups.pids(group) for group in groups}
    assert all(before.values())
    for group, ends in zip(groups, killed, strict=True):
        for pid in before[group] if ends else ():
            simulation.kill(pid, signal.SIGKILL)
    again = provider_at(simulation, tmp_path)
    again.restore_helpers("dev")
    after = {group: provider._cgroups.pids(group) for group in groups}
    assert all(after.values())
    assert simulation.helpers() == ["dnsmasq", "slirp4netns"]
    assert ports_led(simulation) == {endpoint[1]}
    assert again.publish("dev", wanted) == places
    if not any(killed):
        assert after == before


def test_a_stopped_cluster_and_none_have_no_helpers(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    provider.restore_helpers("dev")
    machine = provider.create(ONE)
    provider.open_outside("dev", Outside(everything=True))
    provider.api_endpoint("dev", machine.address, 6443)
    provider.stop("dev", "cp1")
    provider.restore_helpers("dev")
    assert simulation.helpers() == []
    assert ports_led(simulation) == set()


def test_no_endpoint_without_a_cluster(provider: NspawnProvider) -> None:
    with pytest.raises(ProviderError, match='no cluster "dev"'):
        provider.api_endpoint("dev", "10.88.0.11", 6443)


def ports_led(simulation: Simulation) -> set[int]:
    """Return the ports of the host that lead to servers of nodes now."""
    return set[int]().union(*simulation.led.values())


def test_a_forwarder_that_does_not_start_is_an_error(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    machine = provider.create(ONE)
    simulation.stillborn = "Failed to listen: Operation not permitted"
    with pytest.raises(ProviderError) as error:
        provider.api_endpoint("dev", machine.address, 6443)
    assert error.value.why == simulation.stillborn


def test_a_node_that_does_not_boot_shows_its_console(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    simulation.stillborn = "Failed to allocate manager object"
    with pytest.raises(ProviderError, match="cp1 did not start") as error:
        provider.create(ONE)
    assert error.value.why == simulation.stillborn
    assert [m.state for m in provider.list("dev")] == [MachineState.BROKEN]
    simulation.stillborn = ""
    assert provider.create(ONE).state is MachineState.RUNNING


def test_too_few_inotify_instances_are_a_matter_of_resources(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    simulation.stillborn = "Failed to create inotify object: Too many open files"
    with pytest.raises(ResourceError) as error:
        provider.create(ONE)
    assert error.value.hint is not None
    assert "max_user_instances" in error.value.hint


@pytest.mark.parametrize("code", [1, 2, -9])
def test_a_node_without_ssh_is_ended_again(
    simulation: Simulation, provider: NspawnProvider, code: int
) -> None:
    """Also where the program that asks was killed."""
    simulation.silent = code
    with pytest.raises(ProviderError, match="did not start"):
        provider.create(ONE)
    assert not list(simulation.proc.glob("[0-9]*"))
    assert [m.state for m in provider.list("dev")] == [MachineState.BROKEN]


def test_inotify_limits_are_raised_never_lowered(simulation: Simulation, tmp_path: Path) -> None:
    limits = simulation.proc / "sys/fs/inotify"
    limits.mkdir(parents=True)
    (limits / "max_user_instances").write_text("128\n")
    (limits / "max_user_watches").write_text("999999\n")
    provider = provider_at(simulation, tmp_path)
    provider.create(ONE)
    assert (limits / "max_user_instances").read_text() == "4096"
    assert (limits / "max_user_watches").read_text() == "999999\n"
    reporter = provider.context.reporter
    assert isinstance(reporter, RecordingReporter)
    (said,) = reporter.of(Message)
    assert "from 128 to 4096" in said.text


@pytest.mark.parametrize(
    "step", ["mount", "ip netns add omk-dev", "ssh-keygen", "ip -n omk-dev.cp1"]
)
def test_a_failed_step_is_explained_and_repaired_by_the_next_create(
    simulation: Simulation, provider: NspawnProvider, tmp_path: Path, step: str
) -> None:
    simulation.failing[step] = "Operation not permitted"
    with pytest.raises(ProviderError) as error:
        provider.create(ONE)
    assert error.value.why is not None
    assert "Operation not permitted" in error.value.why
    assert [m.state for m in provider.list("dev")] == [MachineState.BROKEN]
    simulation.failing.clear()
    assert provider.create(ONE).state is MachineState.RUNNING
    provider.delete("dev", "cp1")
    assert simulation.traces() == []
    assert files_left(tmp_path) == []


def test_a_failed_first_node_can_be_deleted(
    simulation: Simulation, provider: NspawnProvider, tmp_path: Path
) -> None:
    simulation.failing["mount"] = "no such device"
    with pytest.raises(ProviderError):
        provider.create(ONE)
    provider.delete("dev", "cp1")
    assert simulation.traces() == []
    assert files_left(tmp_path) == []


def test_a_directory_without_our_marker_is_not_touched(
    provider: NspawnProvider, tmp_path: Path
) -> None:
    provider.create(TWO)
    foreign = tmp_path / "d/nspawn/dev/nodes/cp1"
    foreign.mkdir()
    (foreign / "precious").write_text("mine")
    assert [m.node for m in provider.list("dev")] == ["w1"]
    for attempt in (provider.create, lambda _: provider.delete("dev", "cp1")):
        with pytest.raises(ProviderError, match="not touched"):
            attempt(ONE)
    assert (foreign / "precious").read_text() == "mine"


def test_a_marker_of_another_cluster_is_not_believed(
    provider: NspawnProvider, tmp_path: Path
) -> None:
    provider.create(ONE)
    marker = tmp_path / "d/nspawn/dev/nodes/cp1/machine.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"cluster": "dev-2"}))
    assert list(provider.list("dev")) == []
    with pytest.raises(ProviderError, match="not touched"):
        provider.delete("dev", "cp1")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99}', '{"schema": 1}'])
def test_a_damaged_marker_is_said(provider: NspawnProvider, tmp_path: Path, content: str) -> None:
    provider.create(ONE)
    (tmp_path / "d/nspawn/dev/nodes/cp1/machine.json").write_text(content)
    with pytest.raises(IntegrityError):
        provider.delete("dev", "cp1")


def test_an_empty_directory_left_by_a_crash_is_a_broken_machine(
    simulation: Simulation, provider: NspawnProvider, tmp_path: Path
) -> None:
    provider.create(TWO)
    left = tmp_path / "d/nspawn/dev/nodes/cp1"
    left.mkdir()
    (left / ".omk-tmp-abc").write_text("half")
    broken, _running = provider.list("dev")
    assert (broken.node, broken.state) == ("cp1", MachineState.BROKEN)
    provider.delete("dev", "cp1")
    assert not left.exists()
    left.mkdir()
    assert provider.create(ONE).state is MachineState.RUNNING


def test_a_foreign_cluster_directory_is_not_taken_over(
    provider: NspawnProvider, tmp_path: Path
) -> None:
    (tmp_path / "d/nspawn/dev").mkdir(parents=True)
    (tmp_path / "d/nspawn/dev/precious").write_text("mine")
    with pytest.raises(LockedError, match="in the way"):
        provider.create(ONE)
    assert (tmp_path / "d/nspawn/dev/precious").read_text() == "mine"


class TestTwoHomes:
    """Two data directories on one host, with a cluster of the same name."""

    @pytest.fixture
    def second(self, simulation: Simulation, tmp_path: Path) -> NspawnProvider:
        return provider_at(simulation, tmp_path / "second")

    def test_the_name_belongs_to_the_first(
        self, provider: NspawnProvider, second: NspawnProvider, tmp_path: Path
    ) -> None:
        made = provider.create(ONE)
        with pytest.raises(LockedError, match='"dev" is taken'):
            second.create(ONE)
        assert list(second.list("dev")) == []
        second.delete("dev", "cp1")
        assert list(provider.list("dev")) == [made]
        assert not (tmp_path / "second/d/nspawn").exists()

    def test_after_a_reboot_to_whoever_starts_first(
        self,
        simulation: Simulation,
        provider: NspawnProvider,
        second: NspawnProvider,
        tmp_path: Path,
    ) -> None:
        provider.create(ONE)
        simulation.reboot()
        theirs = second.create(ONE)
        assert [m.state for m in provider.list("dev")] == [MachineState.STOPPED]
        with pytest.raises(LockedError):
            provider.start("dev", "cp1")
        provider.stop("dev", "cp1")
        provider.delete("dev", "cp1")
        assert list(second.list("dev")) == [theirs]
        assert files_left(tmp_path) == []

    def test_a_name_whose_files_are_gone_is_swept_and_taken(
        self,
        simulation: Simulation,
        provider: NspawnProvider,
        second: NspawnProvider,
        tmp_path: Path,
    ) -> None:
        provider.create(ONE)
        (tmp_path / "d/nspawn/dev/cluster.json").unlink()
        before = {path.name for path in simulation.proc.glob("[0-9]*")}
        assert second.create(ONE).state is MachineState.RUNNING
        assert not before & {path.name for path in simulation.proc.glob("[0-9]*")}

    def test_a_namespace_that_nobody_claimed_is_left_alone(
        self, simulation: Simulation, provider: NspawnProvider, tmp_path: Path
    ) -> None:
        (simulation.netns / "omk-dev").touch()
        with pytest.raises(LockedError):
            provider.create(ONE)
        assert (simulation.netns / "omk-dev").exists()
        assert files_left(tmp_path) == []


def test_delete_ends_what_runs_although_its_files_are_gone(
    simulation: Simulation, provider: NspawnProvider, tmp_path: Path
) -> None:
    provider.create(ONE)
    simulation.table = [entry for entry in simulation.table if entry[1] != "overlay"]
    simulation._write_mounts()
    for path in sorted((tmp_path / "d/nspawn/dev").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    provider.delete("dev", "cp1")
    assert simulation.traces() == []


@pytest.mark.parametrize("for_ever", [False, True])
def test_delete_takes_what_is_written_meanwhile(
    provider: NspawnProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, for_ever: bool
) -> None:
    """By a program that outlived its killed creation; one that never ends is told of."""
    provider.create(ONE)
    late = tmp_path / "d/nspawn/dev/late"
    remove, left = clusters.files.remove_tree, [late]

    def removing(path: Path) -> None:
        remove(path)
        if path.parent == late.parent and (left or for_ever):
            late.with_name(f"late{len(left)}").touch()
            left[:] = []

    monkeypatch.setattr(clusters.files, "remove_tree", removing)
    if for_ever:
        with pytest.raises(OSError, match="not empty"):
            provider.delete("dev", "cp1")
        return
    provider.delete("dev", "cp1")
    assert files_left(tmp_path) == []


def test_start_of_an_unknown_node(provider: NspawnProvider) -> None:
    provider.create(TWO)
    with pytest.raises(NotFoundError, match='no node "cp1"'):
        provider.start("dev", "cp1")


def test_addresses_run_out(provider: NspawnProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohmykube.providers.nspawn.layout.LAST_HOST", 11)
    provider.create(ONE)
    with pytest.raises(ProviderError, match="no address left"):
        provider.create(TWO)
    assert [m.node for m in provider.list("dev")] == ["cp1"]


def test_an_address_is_used_again(provider: NspawnProvider) -> None:
    first = provider.create(ONE)
    provider.create(TWO)
    provider.delete("dev", "cp1")
    assert provider.create(replace(ONE, node="w2")).address == first.address


@pytest.mark.parametrize("order", list(itertools.permutations(("cp1", "w1", "w2"))))
def test_addresses_follow_the_description_and_not_who_was_first(
    simulation: Simulation, tmp_path: Path, order: tuple[str, ...]
) -> None:
    """The same file gives the same addresses, however the making of nodes overlaps."""

    def described(*names: str) -> NspawnProvider:
        nodes = tuple(Node(name=name, role=Role.WORKER) for name in names)
        cluster = Cluster(name="dev", kubernetes_version="1.36.3", provider="nspawn", nodes=nodes)
        provider = provider_at(simulation, tmp_path)
        return NspawnProvider(replace(provider.context, cluster=cluster), simulation.host())

    provider = described("cp1", "w1", "w2")
    for name in order:
        provider.create(replace(TWO, node=name))
    addresses = {machine.node: machine.address for machine in provider.list("dev")}
    first = [f"10.88.0.{11 + number}" for number in range(4)]
    assert addresses == dict(zip(("cp1", "w1", "w2"), first, strict=False))
    # A place that is taken, or free again, disturbs nobody's address.
    provider.delete("dev", "w1")
    changed = described("cp1", "w2", "x1", "x2")
    for name in ("x2", "x1"):
        changed.create(replace(TWO, node=name))
    addresses = {machine.node: machine.address for machine in changed.list("dev")}
    assert addresses == {"cp1": first[0], "w2": first[2], "x1": first[1], "x2": first[3]}


def test_a_base_image_that_is_gone_is_built_again(simulation: Simulation, tmp_path: Path) -> None:
    provider = provider_at(simulation, tmp_path)
    provider.create(ONE)
    provider.stop("dev", "cp1")
    (base,) = (tmp_path / "c/nspawn").glob("base-*")
    base.rename(base.with_name("gone"))
    assert provider_at(simulation, tmp_path).start("dev", "cp1").state is MachineState.RUNNING
    other = provider_at(simulation, tmp_path, suite="trixie")
    base.rename(base.with_name("gone-again"))
    other.stop("dev", "cp1")
    assert other.start("dev", "cp1").state is MachineState.RUNNING
    reporter = other.context.reporter
    assert isinstance(reporter, RecordingReporter)
    assert ["base image" in m.text for m in reporter.of(Message)] == [True]


def test_options_are_checked_all_at_once(simulation: Simulation, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        provider_at(simulation, tmp_path, sweet="x", mirror=7, suite="")
    assert error.value.why is not None
    assert len(error.value.why.splitlines()) == 3


def test_names_with_blanks_and_colons_in_paths(simulation: Simulation, tmp_path: Path) -> None:
    home = tmp_path / "a b:c,d"
    provider = provider_at(simulation, home)
    assert provider.create(ONE).state is MachineState.RUNNING
    mount = next(argv for argv in simulation.ran if argv[0] == "mount")
    assert "a b\\:c\\,d" in mount[5]
    provider.delete("dev", "cp1")
    assert simulation.traces() == []
