"""The Lima provider where things go wrong: each fault once, on the limactl without machines."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import (
    ConfigError,
    LockedError,
    NotFoundError,
    OhmykubeError,
    ProviderError,
    ResourceError,
)
from ohmykube.model.cluster import Node, Role
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.progress import Message, NodeProgress
from ohmykube.providers.base import CheckStatus
from ohmykube.providers.lima import marker, records
from ohmykube.providers.lima.lima_home import Home
from ohmykube.providers.lima.lima_yaml import Shape
from ohmykube.providers.lima.limactl import Limactl
from ohmykube.providers.lima.limactl_output import Status
from ohmykube.providers.lima.network import Networks
from ohmykube.providers.lima.state import Inspector, drift
from ohmykube.testing import fake_limactl
from tests.lima_world import World, world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ohmykube.providers.lima.limactl_output import LogEntry

SPEC = MachineSpec(cluster="dev", node="cp1", cpus=1, memory_mib=512, disk_gib=10)
WORKER = dataclasses.replace(SPEC, node="w1")


@pytest.fixture
def place() -> Iterator[World]:
    with world() as found:
        yield found


@pytest.fixture
def newer() -> Iterator[World]:
    with world("2.2.0") as found:
        yield found


def states(place: World, cluster: str = "dev") -> dict[str, str]:
    return {m.node: m.state.value for m in place.provider().list(cluster)}


# -- machines that are not ours --------------------------------------------------------------------


def foreign(place: World, name: str) -> None:
    """Make an instance as a user would with limactl."""
    place.limactl.create(name, f"images: [{{location: {place.image}}}]\nuser: {{name: me}}\n")


def test_a_foreign_machine_of_our_name_is_never_touched(place: World) -> None:
    place.home.ensure_key()
    foreign(place, "dev.cp1")
    before = sorted(p.name for p in place.directory("dev", "cp1").iterdir())
    provider = place.provider()
    with pytest.raises(LockedError) as caught:
        provider.create(SPEC)
    assert caught.value.id == "OMK-P-534"
    with pytest.raises(LockedError):
        provider.start("dev", "cp1")
    provider.stop("dev", "cp1")
    provider.delete("dev", "cp1")
    assert list(provider.list("dev")) == []
    assert list(provider.clusters()) == []
    assert sorted(p.name for p in place.directory("dev", "cp1").iterdir()) == before


def test_a_running_foreign_machine_goes_on_beside_ours(place: World) -> None:
    place.home.ensure_key()
    foreign(place, "dev.w1")
    place.limactl.start("dev.w1", timeout=60)
    provider = place.provider()
    provider.create(SPEC)
    provider.stop("dev", "w1")
    provider.delete("dev", "w1")
    provider.delete("dev", "cp1")
    assert [i.name for i in place.limactl.list() if i.status == "Running"] == ["dev.w1"]


def test_a_copy_of_our_machine_under_another_name_is_not_ours(place: World) -> None:
    provider = place.provider()
    provider.create(SPEC)
    provider.stop("dev", "cp1")
    place.limactl.clone("dev.cp1", "dev.w1")
    assert states(place) == {"cp1": "stopped"}
    with pytest.raises(LockedError):
        provider.create(WORKER)
    provider.delete("dev", "w1")
    assert place.directory("dev", "w1").is_dir()


def test_a_link_in_place_of_a_machine_is_foreign(place: World) -> None:
    place.home.root.mkdir(parents=True)
    place.directory("dev", "cp1").symlink_to(place.root / "elsewhere")
    with pytest.raises(LockedError):
        place.provider().create(SPEC)
    assert place.directory("dev", "cp1").is_symlink()


# -- making ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["no-space", "half-dir", "keygen-race"])
def test_what_fails_while_it_is_made_leaves_nothing(place: World, fault: str) -> None:
    place.plant(fault)
    provider = place.provider()
    with pytest.raises(OhmykubeError) as caught:
        provider.create(SPEC)
    assert isinstance(caught.value, ResourceError if fault == "no-space" else ProviderError)
    assert states(place) == {}
    assert list(provider.clusters()) == []
    assert not [*place.home.clusters.glob("*"), *place.home.claims.glob("*")]
    assert provider.create(SPEC).state is MachineState.RUNNING


def test_a_crash_before_the_mark_is_ours_by_its_claim(place: World) -> None:
    provider = place.provider()
    made = provider.create(SPEC)
    provider.stop("dev", "cp1")
    whose = marker.read(place.directory("dev", "cp1"))
    assert whose is not None
    marker.claim(place.home, whose)
    (place.directory("dev", "cp1") / marker.FILE).unlink()
    assert states(place) == {"cp1": "broken"}
    again = provider.create(SPEC)
    assert (again.node, again.state) == (made.node, MachineState.RUNNING)


def test_a_half_made_directory_with_a_claim_is_ours(place: World) -> None:
    provider = place.provider()
    provider.create(SPEC)
    whose = marker.read(place.directory("dev", "cp1"))
    assert whose is not None
    provider.delete("dev", "cp1")
    marker.claim(place.home, whose)
    place.directory("dev", "cp1").mkdir()
    assert states(place) == {"cp1": "broken"}
    provider.delete("dev", "cp1")
    assert not place.directory("dev", "cp1").exists()


def test_a_half_made_directory_of_somebody_else_is_named_and_stays(place: World) -> None:
    provider = place.provider()
    made = provider.create(SPEC)
    junk = place.home.root / "junk"
    junk.mkdir()
    assert list(provider.list("dev")) == [made]
    for work in (lambda: provider.stop("dev", "cp1"), lambda: provider.create(WORKER)):
        with pytest.raises(LockedError) as caught:
            work()
        assert caught.value.id == "OMK-P-535"
        assert str(junk) in caught.value.message
    junk.rmdir()
    provider.stop("dev", "cp1")
    assert states(place) == {"cp1": "stopped"}


def test_what_a_killed_run_left_of_one_machine_hinders_no_other(place: World) -> None:
    provider = place.provider()
    made = provider.create(SPEC)
    whose = marker.Marker(instance="dev.w1", cluster="dev", node="w1", id="0" * 32)
    marker.claim(place.home, whose)
    place.directory("dev", "w1").mkdir()
    provider.stop("dev", "cp1")
    assert provider.start("dev", "cp1") == made
    assert states(place) == {"cp1": "running"}


def test_a_claim_does_not_take_a_machine_that_came_after_it(place: World) -> None:
    place.home.ensure_key()
    whose = marker.Marker(instance="dev.cp1", cluster="dev", node="cp1", id="0" * 32)
    marker.claim(place.home, whose)
    foreign(place, "dev.cp1")
    assert states(place) == {}
    with pytest.raises(LockedError):
        place.provider().create(SPEC)


def test_two_clusters_at_the_same_instant(place: World) -> None:
    def make(name: str) -> tuple[str, str]:
        provider = place.provider(place.cluster(name))
        machine = provider.create(dataclasses.replace(SPEC, cluster=name))
        return machine.address, f"{provider.api_endpoint(name, machine.address, 6443)}"

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(make, ["a", "b", "c", "d"]))
    subnets = {address.rpartition(".")[0] for address, _ in made}
    assert len(subnets) == 4
    assert len({endpoint for _, endpoint in made}) == 4


def test_a_network_of_the_cluster_itself_is_kept_clear_of(place: World) -> None:
    cluster = place.cluster()
    network = dataclasses.replace(cluster.network, pod_cidr="192.168.110.0/23")
    provider = place.provider(dataclasses.replace(cluster, network=network))
    assert provider.create(SPEC).address.startswith("192.168.112.")


# -- starting --------------------------------------------------------------------------------------

ONCE = ["start-timeout", "start-hang", "start-fails", "degraded", "usernet-killed", "ha-killed",
        "guest-off"]  # fmt: skip


@pytest.mark.parametrize("fault", ONCE)
def test_a_start_that_fails_once_is_tried_again(place: World, fault: str) -> None:
    place.plant(fault)
    provider = place.provider()
    machine = provider.create(SPEC)
    assert list(provider.list("dev")) == [machine]
    assert place.lives(machine)


@pytest.mark.parametrize("fault", ["start-timeout", "start-fails", "degraded"])
def test_a_start_that_fails_always_leaves_nothing_running(place: World, fault: str) -> None:
    place.plant(fault, fault)
    provider = place.provider()
    with pytest.raises(ProviderError) as caught:
        provider.create(SPEC)
    assert caught.value.id == "OMK-P-532"
    assert caught.value.why
    assert states(place) == {"cp1": "broken"}, "its first start was not seen to its end"
    assert fake_limactl.processes(place.home.root) == {}
    assert provider.create(SPEC).state is MachineState.RUNNING


def test_a_machine_that_was_ready_once_is_stopped_after_a_start_that_fails(place: World) -> None:
    provider = place.provider()
    made = provider.create(SPEC)
    provider.stop("dev", "cp1")
    place.plant("start-timeout", "start-timeout")
    with pytest.raises(ProviderError):
        provider.start("dev", "cp1")
    assert states(place) == {"cp1": "stopped"}
    assert provider.start("dev", "cp1") == made


def kill(place: World, name: str) -> None:
    pid = next(pid for path, pid in fake_limactl.processes(place.home.root).items()
               if str(path).endswith(name))  # fmt: skip
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("hit", ["dev.cp1/ha.pid", "dev.cp1/qemu.pid", "usernet_omk110.pid"])
def test_what_died_is_listed_as_broken_and_mended(
    place: World, hit: str, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    provider = place.provider()
    made = [provider.create(SPEC), provider.create(WORKER)]
    kill(place, hit)
    assert eventually(lambda: states(place)["cp1"] != "running")
    assert {m.ssh for m in provider.list("dev") if m.node == "cp1"} == {None}
    assert [provider.start("dev", node) for node in ("cp1", "w1")] == made
    assert list(provider.list("dev")) == made


def test_the_addresses_outlive_a_daemon_that_was_killed(place: World) -> None:
    provider = place.provider()
    made = {node: provider.create(dataclasses.replace(SPEC, node=node)) for node in ("cp1", "w1")}
    kill(place, "usernet_omk110.pid")
    # In the other order, in which a daemon without a memory would swap them.
    assert provider.start("dev", "w1") == made["w1"]
    assert provider.start("dev", "cp1") == made["cp1"]


def test_a_daemon_that_hangs_is_ended(place: World) -> None:
    provider = place.provider()
    made = provider.create(SPEC)
    daemon = place.home.root / "_networks/omk110"
    pid = int((daemon / "usernet_omk110.pid").read_text())
    (daemon / "omk110_ep.sock").unlink()
    assert states(place) == {"cp1": "broken"}
    assert provider.start("dev", "cp1") == made
    assert int((daemon / "usernet_omk110.pid").read_text()) != pid


def test_a_pid_that_is_another_program_by_now_is_left_alone(place: World) -> None:
    place.home.network_directory("omk110").mkdir(parents=True)
    path = place.home.network_directory("omk110") / "usernet_omk110.pid"
    path.write_text(f"{os.getpid()}\n")
    Networks(place.home, place.limactl).end_daemon("omk110")
    assert not path.exists()


def test_another_port_of_ssh_after_a_restart_changes_nothing(place: World) -> None:
    provider = place.provider()
    made = provider.create(SPEC)
    (before,) = place.limactl.list("dev.cp1")
    place.limactl.stop("dev.cp1")
    place.limactl.start("dev.cp1", timeout=60)
    (after,) = place.limactl.list("dev.cp1")
    assert before.ssh_port != after.ssh_port
    (seen,) = provider.list("dev")
    assert seen.ssh is not None
    assert seen.ssh.port == after.ssh_port, "the lasting one ended with the daemon"
    assert provider.start("dev", "cp1").ssh is not None
    assert list(provider.list("dev")) == [made]


def test_a_lasting_port_that_somebody_took_is_said(place: World) -> None:
    provider = place.provider()
    made = provider.create(SPEC)
    assert made.ssh is not None
    provider.stop("dev", "cp1")
    with socket.create_server(("127.0.0.1", made.ssh.port)):
        with pytest.raises(LockedError) as caught:
            provider.start("dev", "cp1")
        assert caught.value.id == "OMK-P-525"
        assert f"127.0.0.1:{made.ssh.port}" in caught.value.message
    assert provider.start("dev", "cp1") == made


def test_an_address_that_changed_is_not_taken_for_the_old_one(place: World) -> None:
    provider = place.provider()
    provider.create(SPEC)
    whose = marker.read(place.directory("dev", "cp1"))
    assert whose is not None
    other = dataclasses.replace(whose, address="192.168.110.77", mac="")
    marker.write(place.directory("dev", "cp1"), other)
    assert states(place) == {"cp1": "broken"}
    with pytest.raises(ProviderError, match="did not come up") as caught:
        provider.start("dev", "cp1")
    assert "192.168.110.77" in str(caught.value.why)


def test_a_guest_that_does_not_answer_is_started_anew(place: World) -> None:
    provider = place.provider()
    made = provider.create(SPEC)
    place.guests.silent = True
    (seen,) = provider.list("dev")
    assert seen.state is MachineState.BROKEN
    with pytest.raises(ProviderError, match="did not come up"):
        provider.start("dev", "cp1")
    place.guests.silent = False
    assert provider.start("dev", "cp1") == made


def test_what_is_said_of_a_machine_in_each_state(place: World) -> None:
    made = place.provider().create(SPEC)
    (instance,) = place.limactl.list("dev.cp1")
    answering = True
    inspector = Inspector(place.home, place.networks, lambda _host, _port: answering)

    def said(status: Status = Status.RUNNING) -> tuple[str, str]:
        seen = inspector.inspect("dev.cp1", dataclasses.replace(instance, status=status))
        return seen.state.name, seen.why

    assert said() == ("READY", "")
    assert said(Status.STOPPED) == ("STOPPED", "")
    assert said(Status.BROKEN) == ("BROKEN", "limactl calls it Broken")
    assert said(Status.UNKNOWN) == ("BROKEN", "limactl calls it nothing")
    answering = False
    assert said() == ("SILENT", f"ssh does not answer at 127.0.0.1:{instance.ssh_port}")
    directory = place.directory("dev", "cp1")
    mark = marker.read(directory)
    assert mark is not None
    marker.write(directory, dataclasses.replace(mark, address="192.168.110.99"))
    assert said() == ("NETDEAD", f"its address is {made.address}, and was 192.168.110.99")
    records.remove(place.home, "dev")
    assert said() == ("NETDEAD", "the record of its network is gone")
    marker.write(directory, dataclasses.replace(mark, complete=False))
    assert said() == ("CREATING", "its first start did not come to its end")
    unlisted = inspector.inspect("dev.cp1", None)
    assert unlisted.state.name == "CREATING"
    assert unlisted.why == "its directory is there, and limactl does not list it"


def test_a_size_that_is_not_the_wanted_one_is_told_in_its_unit(place: World) -> None:
    place.provider().create(SPEC)
    (instance,) = place.limactl.list("dev.cp1")
    assert drift(instance, Shape(cpus=1, memory_mib=512, disk_gib=10)) == ()
    found = drift(instance, Shape(cpus=3, memory_mib=1024, disk_gib=9))
    assert [str(one) for one in found] == [
        "cpus 1, not 3",
        "memory 512 MiB, not 1024 MiB",
        "disk 10 GiB, not 9 GiB",
    ]
    assert [one.shrinks for one in found] == [False, False, True]


def test_a_stop_that_the_guest_ignores_is_forced(place: World) -> None:
    provider = place.provider()
    machine = provider.create(SPEC)
    place.plant("stop-hang")
    provider.stop("dev", "cp1")
    assert not place.lives(machine)
    assert states(place) == {"cp1": "stopped"}


def test_a_delete_that_was_killed_is_ended(place: World) -> None:
    provider = place.provider()
    provider.create(SPEC)
    provider.create(WORKER)
    place.plant("delete-half@dev.cp1")
    with contextlib.suppress(OhmykubeError):
        provider.delete("dev", "cp1")
    provider.delete("dev", "cp1")
    assert states(place) == {"w1": "running"}
    assert not place.directory("dev", "cp1").exists()


def test_nothing_starts_where_nothing_is(place: World) -> None:
    with pytest.raises(NotFoundError) as caught:
        place.provider().start("dev", "cp1")
    assert caught.value.id == "OMK-P-551"
    assert not [*place.home.root.glob("dev*")]


# -- sizes -----------------------------------------------------------------------------------------


def sized(cpus: float, memory: int, disk: int) -> Node:
    return Node(name="cp1", role=Role.CONTROL_PLANE, cpus=cpus, memory_mib=memory, disk_gib=disk)


def test_a_new_size_applies_at_the_next_start(place: World) -> None:
    place.provider().create(SPEC)
    changed = place.provider(place.cluster(node=sized(2.5, 1024, 20)))
    changed.start("dev", "cp1")
    (warning,) = [e for e in place.reporter.of(Message) if e.level == "warning"]
    assert "cpus 1, not 3, memory 512 MiB, not 1024 MiB, disk 10 GiB, not 20 GiB" in warning.text
    changed.stop("dev", "cp1")
    changed.start("dev", "cp1")
    (instance,) = place.limactl.list("dev.cp1")
    assert (instance.cpus, instance.memory >> 20, instance.disk >> 30) == (3, 1024, 20)


@pytest.mark.parametrize("running", [True, False])
def test_a_disk_does_not_shrink(place: World, *, running: bool) -> None:
    provider = place.provider()
    made = provider.create(SPEC)
    if not running:
        provider.stop("dev", "cp1")
    with pytest.raises(ConfigError) as caught:
        provider.create(dataclasses.replace(SPEC, disk_gib=5))
    assert caught.value.id == "OMK-P-553"
    (seen,) = provider.list("dev")
    assert (seen.address, seen.state is MachineState.RUNNING) == (made.address, running)


def test_additional_disks_are_made_grown_added_and_removed(place: World) -> None:
    def disks() -> dict[str, int]:
        return {d.name: d.size >> 30 for d in place.limactl.disk_list()}

    place.provider(place.cluster(disks={"cp1": ["2GiB"]})).create(SPEC)
    assert disks() == {"dev.cp1-disk1": 2}
    more = place.provider(place.cluster(disks={"*": ["3GiB", "1GiB"]}))
    more.stop("dev", "cp1")
    more.start("dev", "cp1")
    assert disks() == {"dev.cp1-disk1": 3, "dev.cp1-disk2": 1}
    (instance,) = place.limactl.list("dev.cp1")
    attached = [disk["name"] for disk in instance.config["additionalDisks"]]
    assert attached == ["dev.cp1-disk1", "dev.cp1-disk2"]
    place.limactl.stop("dev.cp1", force=True)
    more.delete("dev", "cp1")
    assert disks() == {}


# -- images and templates --------------------------------------------------------------------------


def test_an_unknown_image_makes_nothing(place: World) -> None:
    with pytest.raises(ConfigError) as caught:
        place.provider(place.cluster(image="ubuntu-99.04")).create(SPEC)
    assert caught.value.id == "OMK-P-512"
    assert not place.home.clusters.exists()


def test_an_unknown_template_is_refused(place: World) -> None:
    provider = place.provider(place.cluster(template="/no/such.yaml"))
    with pytest.raises(ConfigError) as caught:
        provider.create(SPEC)
    assert caught.value.id == "OMK-P-514"
    (check,) = [one for one in provider.check() if one.id == "lima-image"]
    assert check.status is CheckStatus.FAIL
    assert not place.home.clusters.exists()


def test_a_template_that_is_gone_does_not_keep_machines_alive(place: World) -> None:
    path = place.root / "mine.yaml"
    path.write_text(f"images: [{{location: {place.image}}}]\n")
    cluster = place.cluster(template=str(path))
    place.provider(cluster).create(SPEC)
    path.unlink()
    provider = place.provider(cluster)
    provider.stop("dev", "cp1")
    assert provider.start("dev", "cp1").state is MachineState.RUNNING
    provider.delete("dev", "cp1")
    assert list(provider.clusters()) == []


def test_a_template_of_the_user(place: World) -> None:
    path = place.root / "mine.yaml"
    path.write_text(
        f"images: [{{location: {place.image}, kernel: {{location: {place.image}}}}}]\n"
        "firmware: {legacyBIOS: true}\nplain: false\nmounts: [{location: '~'}]\n"
    )
    place.provider(place.cluster(template=str(path))).create(SPEC)
    (instance,) = place.limactl.list("dev.cp1")
    assert instance.config["firmware"] == {"legacyBIOS": True}
    assert instance.config["plain"] is True
    assert not instance.config.get("mounts")
    assert instance.config["user"]["name"] == "omk"


def test_an_image_without_digest_is_refused(place: World) -> None:
    cluster = place.cluster(image="https://example.com/a.qcow2")
    with pytest.raises(ConfigError) as caught:
        place.provider(cluster).prepare()
    assert caught.value.id == "OMK-P-511"
    allowed = place.cluster(image="https://example.com/a.qcow2", allowUnverifiedImage=True)
    place.provider(allowed).prepare()


def test_a_home_that_is_too_long_for_sockets(place: World) -> None:
    deep = place.home.root / ("x" * 60)
    provider = place.provider()
    provider._home = Home(deep)
    with pytest.raises(ConfigError) as caught:
        provider.create(SPEC)
    assert caught.value.id == "OMK-P-552"
    assert not [*deep.glob("dev*")]


def test_a_limactl_that_makes_something_else_is_found_out(place: World) -> None:
    path = place.root / "mine.yaml"
    path.write_text(f"images: [{{location: {place.image}}}]\n")
    provider = place.provider(place.cluster(template=str(path)))
    config = place.home.root / "_config"
    config.mkdir(parents=True)

    class Other(Limactl):
        """Makes what it was not asked for."""

        def create(self, name: str, template: str, *, timeout: float = 0) -> tuple[LogEntry, ...]:
            del template
            return super().create(name, f"images: [{{location: {place.image}}}]\n")

    provider._limactl = Other(place.home.root, run=place.run)
    with pytest.raises(ProviderError) as caught:
        provider.create(SPEC)
    assert caught.value.id == "OMK-P-531"


# -- ports -----------------------------------------------------------------------------------------


def test_a_port_that_leads_elsewhere_is_put_right(place: World) -> None:
    provider = place.provider()
    machine = provider.create(SPEC)
    _, port = provider.api_endpoint("dev", machine.address, 6443)
    daemon = place.networks.daemon("omk110")
    daemon.unexpose(f"127.0.0.1:{port}")
    daemon.expose(f"127.0.0.1:{port}", f"{machine.address}9:6443")
    provider.start("dev", "cp1")
    assert (f"127.0.0.1:{port}", f"{machine.address}:6443") in {
        (f.local, f.remote) for f in daemon.forwards()
    }


def test_no_endpoint_without_a_cluster(place: World) -> None:
    with pytest.raises(ProviderError) as caught:
        place.provider().api_endpoint("dev", "192.168.110.1", 6443)
    assert caught.value.id == "OMK-P-523"


@pytest.mark.parametrize(
    "wrong", [{"schema": 7}, {"cluster": "other"}, {"number": 0}, {"number": 255}, {"number": -1}]
)
def test_a_damaged_record_is_said_and_does_not_hide_the_machines(
    place: World, wrong: dict[str, object]
) -> None:
    place.provider().create(SPEC)
    path = place.home.clusters / "dev.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **wrong}))
    with pytest.raises(OhmykubeError) as caught:
        records.read(place.home, "dev")
    assert caught.value.id == "OMK-P-521"
    assert states(place) == {"cp1": "broken"}


def test_a_record_is_removed_once_and_removing_none_is_fine(place: World) -> None:
    place.provider().create(SPEC)
    assert [record.cluster for record in records.every(place.home)] == ["dev"]
    for _ in range(2):
        records.remove(place.home, "dev")
        assert records.every(place.home) == ()


# -- sleep -----------------------------------------------------------------------------------------


def test_a_guest_that_slept_gets_its_clock_set(place: World) -> None:
    provider = place.provider()
    made = provider.create(SPEC)
    assert provider.start("dev", "cp1") == made
    assert place.guests.asked == [("date", "+%s")]
    place.guests.behind = 3600
    provider.start("dev", "cp1")
    assert place.guests.asked[-1][:2] == ("date", "--set")
    assert any(" s off; set" in e.text for e in place.reporter.of(Message))


def test_progress_is_told_while_a_guest_boots(place: World) -> None:
    place.provider().create(SPEC)
    told = [e.activity for e in place.reporter.of(NodeProgress)]
    assert told[:2] == ["making its disk", "booting"]


def test_a_newer_limactl_lists_half_made_ones_and_all_is_well(newer: World) -> None:
    provider = newer.provider()
    made = provider.create(SPEC)
    (newer.home.root / "junk").mkdir()
    assert list(provider.list("dev")) == [made]
    shutil.rmtree(newer.directory("dev", "cp1") / "absent", ignore_errors=True)
    provider.delete("dev", "cp1")
    assert states(newer) == {}


def test_the_record_of_a_machine_is_readable(place: World) -> None:
    place.provider().create(SPEC)
    path: Path = place.directory("dev", "cp1") / marker.FILE
    head, body = path.read_text().split("\n", 1)
    assert head.startswith("# ")
    assert json.loads(body)["cluster"] == "dev"
