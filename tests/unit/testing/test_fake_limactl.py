"""The fake limactl where machines run: processes, events, the network, and every fault."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import PrerequisiteError
from ohmykube.providers.lima import events
from ohmykube.providers.lima.limactl import Limactl
from ohmykube.providers.lima.limactl_errors import LimactlError, Reason
from ohmykube.providers.lima.limactl_output import Instance, Status
from ohmykube.providers.lima.usernet import Usernet, endpoint
from ohmykube.testing import fake_limactl
from ohmykube.testing.fake_limactl.in_process import InProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSIONS = ["2.0.3", "2.2.0"]


class Fake:
    """A fake limactl with a home of its own."""

    def __init__(self, home: Path, version: str) -> None:
        self.home = home
        self.limactl = Limactl(home, run=InProcess({"FAKE_LIMA_PROFILE": version}))
        self.usernet = Usernet(endpoint(home, "user-v2"))

    def create(self, *names: str, network: str = "user-v2") -> None:
        image = self.home.parent / "image"
        image.touch()
        for name in names:
            text = (
                f"images: [{{location: {image}}}]\nnetworks: [{{lima: {network}}}]\nplain: true\n"
            )
            self.limactl.create(name, text)

    def start(self, name: str) -> Instance:
        self.limactl.start(name, timeout=20)
        return self.one(name)

    def one(self, name: str) -> Instance:
        (found,) = self.limactl.list(name)
        return found


@pytest.fixture(params=VERSIONS)
def fake(request: pytest.FixtureRequest) -> Iterator[Fake]:
    with tempfile.TemporaryDirectory(prefix="l") as directory:  # short: sockets lie in it
        made = Fake(Path(directory) / "h", request.param)
        yield made
        fake_limactl.reap(made.home)


def refused(
    reason: Reason, action: Callable[..., object], *arguments: object, **named: object
) -> None:
    with pytest.raises(LimactlError) as caught:
        action(*arguments, **named)
    assert caught.value.reason is reason, caught.value.why


def test_a_machine_runs_and_stops(fake: Fake) -> None:
    fake.create("a")
    found = fake.start("a")
    assert found.status is Status.RUNNING
    with socket.create_connection(("127.0.0.1", found.ssh_port), 10) as connection:
        assert connection.recv(8) == b"SSH-2.0-"
    told = events.Events(found.directory).new()
    assert [(one.running, one.ssh_port) for one in told] == [
        (False, found.ssh_port),
        (True, found.ssh_port),
    ]
    for pid in (found.host_agent_pid, found.driver_pid):
        os.kill(pid, 0)
    assert f"Port {found.ssh_port}\n" in found.ssh_config.read_text()
    refused(Reason.STILL_RUNNING, fake.limactl.edit, "a", ".cpus = 2")
    refused(Reason.STILL_RUNNING, fake.limactl.clone, "a", "b")
    refused(Reason.STILL_RUNNING, fake.limactl.delete, "a")
    fake.limactl.stop("a")
    assert fake.one("a").status is Status.STOPPED
    last = events.last(found.directory)
    assert last is not None
    assert last.exiting
    assert fake_limactl.processes(fake.home) == {}


def test_starting_twice_is_one_start(fake: Fake) -> None:
    fake.create("a")
    assert fake.start("a") == fake.start("a")


def test_each_start_has_another_port(fake: Fake) -> None:
    fake.create("a")
    ports = set()
    for _ in range(3):
        ports.add(fake.start("a").ssh_port)
        fake.limactl.stop("a", force=True)
    assert len(ports) > 1
    hidden = fake.limactl.version().numbers == (2, 0, 3)
    assert (fake.one("a").ssh_port == 0) is hidden


def test_addresses_stay_and_the_gateway_is_the_second(fake: Fake) -> None:
    fake.create("a", "b")
    fake.start("a")
    fake.start("b")
    leases = fake.usernet.leases()
    assert set(leases) == {f"192.168.104.{number}" for number in (1, 2, 3)}
    listed = {fake.one(name).networks[0].mac for name in ("a", "b")}
    assert not listed & set(leases.values()), "the listed address is not the card's"
    fake.limactl.stop("a")
    assert len(fake.usernet.forwards()) == 1
    fake.limactl.stop("b")
    assert not fake.usernet.alive()
    fake.limactl.delete("b")
    fake.start("a")
    assert fake.usernet.leases() == leases, "no lease is ever given back"
    assert fake.limactl.list("a")[0].ssh_port == int(
        fake.usernet.forwards()[0].local.rpartition(":")[2]
    )


def test_networks_are_apart(fake: Fake) -> None:
    fake.limactl.network_create("omk-x", "192.168.231.1/24")
    fake.create("a")
    fake.create("x", network="omk-x")
    fake.start("a")
    fake.start("x")
    other = Usernet(endpoint(fake.home, "omk-x"))
    assert set(other.leases()) == {"192.168.231.1", "192.168.231.2"}
    fake.limactl.delete("x", force=True)
    assert not other.alive()
    assert fake.usernet.alive()


def test_a_dead_host_agent(fake: Fake) -> None:
    fake.create("a")
    fake_limactl.plant(fake.home, "ha-killed@a")
    found = fake.start("a")
    assert (found.status, found.has_errors, found.host_agent_pid) == (Status.BROKEN, True, 0)
    refused(Reason.OTHER, fake.limactl.start, "a", timeout=60)
    refused(Reason.NOT_RUNNING, fake.limactl.stop, "a")
    fake.limactl.stop("a", force=True)
    assert fake.start("a").status is Status.RUNNING


def test_a_guest_that_powers_off(fake: Fake) -> None:
    fake.create("a")
    fake_limactl.plant(fake.home, "guest-off")
    found = fake.start("a")
    assert found.status is Status.STOPPED


def test_a_dead_network_daemon(fake: Fake) -> None:
    fake.create("a", "b")
    fake_limactl.plant(fake.home, "usernet-killed@a")
    assert fake.start("a").status is Status.RUNNING
    assert not fake.usernet.alive()
    refused(Reason.AGENT_DIED, fake.limactl.start, "b", timeout=60)
    assert "fd_connect" in (fake.home / "b" / "ha.stderr.log").read_text()
    fake.start("b")
    assert [one.remote for one in fake.usernet.forwards()] == ["192.168.104.1" + ":22"]
    # The first machine is still cut off until it is stopped by force and started.
    fake.limactl.stop("a", force=True)
    fake.start("a")
    assert len(fake.usernet.forwards()) == 2


def test_a_start_that_gives_up_leaves_the_machine(fake: Fake) -> None:
    fake.create("a")
    fake_limactl.plant(fake.home, "start-timeout@b", "start-timeout@a")
    refused(Reason.NOT_READY, fake.limactl.start, "a", timeout=0)
    assert fake.one("a").status is Status.RUNNING
    assert events.last(fake.home / "a") is None
    fake.limactl.start("a", timeout=60)  # it does not look whether it is ready
    assert events.last(fake.home / "a") is None


def test_a_time_limit_that_passes(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.create("a")
    monkeypatch.setenv("FAKE_LIMA_BOOT_SECONDS", "600")
    refused(Reason.NOT_READY, fake.limactl.start, "a", timeout=1)
    assert fake.one("a").status is Status.RUNNING


@pytest.mark.parametrize(
    ("fault", "reason", "status"),
    [
        ("start-hang", Reason.HUNG, Status.STOPPED),
        ("start-fails", Reason.AGENT_DIED, Status.STOPPED),
        ("degraded", Reason.NOT_READY, Status.RUNNING),
    ],
)
def test_starts_that_fail(fake: Fake, fault: str, reason: Reason, status: Status) -> None:
    fake.create("a")
    fake_limactl.plant(fake.home, fault)
    refused(reason, fake.limactl.start, "a", timeout=60)
    assert fake.one("a").status is status


def test_a_guest_that_ignores_the_power_button(fake: Fake) -> None:
    fake.create("a")
    fake.start("a")
    fake_limactl.plant(fake.home, "stop-hang@a")
    refused(Reason.OTHER, fake.limactl.stop, "a")
    assert fake.one("a").status is Status.RUNNING
    fake.limactl.stop("a")


def test_a_failed_script_is_seen_in_the_guest_only(fake: Fake, tmp_path: Path) -> None:
    fake.create("a", "b")
    fake_limactl.plant(fake.home, "provision-fails@a")
    fake.start("a")
    fake.start("b")
    program = fake_limactl.install(tmp_path)
    limactl = Limactl(fake.home, program=str(program))

    def shell(name: str, *command: str) -> tuple[int, str]:
        argv, env = limactl.shell_argv(name, *command), limactl.environment
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.strip()

    assert shell("a", "cloud-init", "status") == (1, "status: error")
    assert shell("b", "cloud-init", "status") == (0, "status: done")
    assert shell("a", "hostname") == (0, "lima-a")
    assert shell("a", "true") == (0, "")
    assert shell("a", "false") == (1, "")
    assert '"192.168.104.1"' in shell("a", "ip", "-j", "-4", "addr", "show", "eth0")[1]
    boot = shell("a", "cat", "/proc/sys/kernel/random/boot_id")[1]
    assert boot
    assert (fake.home / "a" / "shell.log").read_text().count("\n") == 6


@pytest.mark.parametrize("verb", ["create", "clone", "delete"])
def test_killed_half_way(fake: Fake, verb: str) -> None:
    fake.create("gold")
    if verb == "delete":
        fake.create("a")
        fake_limactl.plant(fake.home, "delete-half@a")
        refused(Reason.OTHER, fake.limactl.delete, "a")
    else:
        fake_limactl.plant(fake.home, "half-dir@a")
        action = fake.create if verb == "create" else lambda name: fake.limactl.clone("gold", name)
        refused(Reason.OTHER, action, "a")
    assert fake.limactl.half_made() == ("a",)
    assert [one.name for one in fake.limactl.list()] == ["gold"]


def test_a_clone_needs_its_original_before_2_1(fake: Fake) -> None:
    fake.create("gold")
    fake.limactl.clone("gold", "a")
    fake.limactl.clone("a", "b")
    fake.limactl.delete("gold")
    for name in ("a", "b"):
        if fake.limactl.version().at_least(2, 1):
            assert fake.start(name).status is Status.RUNNING
        else:
            refused(Reason.AGENT_DIED, fake.limactl.start, name, timeout=60)


def test_disks_are_held_by_one_machine(fake: Fake) -> None:
    fake.limactl.disk_create("d", 1 << 30)
    disks = '.additionalDisks = ["d"]'
    fake.create("a", "b")
    for name in ("a", "b"):
        fake.limactl.edit(name, disks)
    fake.start("a")
    refused(Reason.AGENT_DIED, fake.limactl.start, "b", timeout=60)
    fake.limactl.delete("a", force=True)
    assert [one.instance for one in fake.limactl.disk_list()] == [""]
    fake.limactl.disk_delete("d", force=True)
    refused(Reason.AGENT_DIED, fake.limactl.start, "b", timeout=60)


def test_starting_what_is_absent_makes_a_default_machine(fake: Fake, tmp_path: Path) -> None:
    program = fake_limactl.install(tmp_path, {"FAKE_LIMA_PROFILE": "2.0.3"})
    env = {**os.environ, "LIMA_HOME": str(fake.home)}
    subprocess.run([str(program), "start", "typo"], env=env, check=True, capture_output=True)
    assert fake.one("typo").status is Status.RUNNING


def test_a_slow_call_is_only_slow(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_LIMA_SLOW_SECONDS", "0.01")
    monkeypatch.setenv("FAKE_LIMA_FAULTS", "slow, degraded@b")
    fake.create("a")
    assert fake.start("a").status is Status.RUNNING


def test_root_by_request(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_LIMA_AS_ROOT", "1")
    with pytest.raises(PrerequisiteError):
        fake.limactl.list()


def test_processes_end_with_their_home(fake: Fake) -> None:
    fake.create("a")
    found = fake.start("a")
    fake.home.rename(fake.home.with_name("gone"))
    for pid in (found.host_agent_pid, found.driver_pid):
        end = _ended(pid)
        assert end, pid
    fake.home.mkdir()


def _ended(pid: int) -> bool:
    from ohmykube.testing.fake_limactl.daemons import wait

    return wait(lambda: not Path(f"/proc/{pid}").exists(), 30)


def test_a_locked_file_of_the_caller_is_not_held(fake: Fake, tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "lock"
    fake.create("a")
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        fake.start("a")
    with path.open("w") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_output_for_people(fake: Fake, tmp_path: Path) -> None:
    fake.create("a")
    program = fake_limactl.install(tmp_path, {"FAKE_LIMA_PROFILE": "2.2.0"})
    env = {**os.environ, "LIMA_HOME": str(fake.home)}

    def out(*argv: str) -> str:
        return subprocess.run(
            [str(program), *argv], env=env, capture_output=True, text=True, check=True
        ).stdout

    assert out("list", "-q") == "a\n"
    assert "Stopped" in out("list")
    assert out("--version") == "limactl version 2.2.0\n"
    file = tmp_path / "vm.yaml"
    file.write_text((fake.home / "a" / "lima.yaml").read_text())
    assert out("create", str(file)) == ""
    assert out("list", "-q") == "a\nvm\n"


@pytest.mark.parametrize(
    "argv",
    [
        ["bogus"],
        ["list", "--bogus"],
        ["create", "-"],
        ["create", "--name"],
        ["start", "a", "--timeout=soon"],
        ["edit", "a", "--set", "cpus"],
        ["clone", "a"],
        ["network", "create", "x"],
        ["network", "delete", "x"],
        ["disk", "create", "d", "--size", "much"],
        ["disk", "create", "d", "--size", "1", "--format", "vmdk"],
        ["shell", "absent", "true"],
    ],
)
def test_bad_calls(fake: Fake, argv: list[str]) -> None:
    fake.create("a")
    done = InProcess()(
        ["limactl", *argv], timeout=60, env={"LIMA_HOME": str(fake.home)}, check=False
    )
    assert done.code == 1
    assert "level=fatal" in done.stderr


def test_an_unknown_fault_cannot_be_planted(fake: Fake) -> None:
    with pytest.raises(ValueError, match="bogus"):
        fake_limactl.plant(fake.home, "bogus@a")


def test_hanging_and_being_killed_as_a_program(fake: Fake, tmp_path: Path) -> None:
    fake.create("a")
    program = str(fake_limactl.install(tmp_path))
    env = {**os.environ, "LIMA_HOME": str(fake.home)}
    env["FAKE_LIMA_FAULTS"] = "start-hang@a"
    with subprocess.Popen([program, "start", "a"], env=env, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        assert b"Using the existing instance" in child.stderr.readline()
        assert child.poll() is None
        child.kill()
    env["FAKE_LIMA_FAULTS"] = "delete-half@a"
    done = subprocess.run([program, "delete", "a"], env=env, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
