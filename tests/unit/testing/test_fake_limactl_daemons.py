"""The processes of the fake limactl, run in threads where they can be looked into."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.providers.lima import events
from ohmykube.providers.lima.usernet import Usernet
from ohmykube.testing.fake_limactl import lima_yaml, usernet
from ohmykube.testing.fake_limactl.daemons import HostAgent, Stop, fork, wait
from ohmykube.testing.fake_limactl.lima_home import live_pid
from ohmykube.testing.fake_limactl.log import Fatal
from tests.free_port import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="l") as made:  # short: sockets lie in it
        yield Path(made)


@contextlib.contextmanager
def running(work: Callable[[Stop], None], directory: Path) -> Iterator[Stop]:
    stop = Stop(directory, 600)
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.ask()
        thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("degraded", [False, True])
def test_a_host_agent(directory: Path, degraded: bool) -> None:
    agent = HostAgent(directory, boot=0.05, degraded=degraded, life=600)

    def up() -> bool:
        last = events.last(directory)
        return last is not None and last.running

    with agent.listener, running(agent.run, directory):
        assert wait(up, 30)
        driver = live_pid(directory / "qemu.pid")
        assert driver
        with socket.create_connection(("127.0.0.1", agent.port), 10) as connection:
            assert connection.recv(4) == b"SSH-"
    told = events.Events(directory).new()
    assert [(one.running, one.degraded, one.exiting) for one in told] == [
        (False, False, False),
        (True, degraded, False),
        (False, False, True),
    ]
    assert not (directory / "qemu.pid").exists()
    os.waitpid(driver, 0)


def test_a_host_agent_ends_with_its_driver(directory: Path) -> None:
    agent = HostAgent(directory, boot=None, degraded=False, life=600)
    with agent.listener, running(agent.run, directory):
        assert wait(lambda: live_pid(directory / "ha.pid") > 0, 30)
        os.kill(live_pid(directory / "qemu.pid"), signal.SIGTERM)
        assert wait(lambda: not (directory / "ha.pid").exists(), 30)
    assert [one.exiting for one in events.Events(directory).new()] == [False, True]


def test_a_host_agent_without_its_home(directory: Path) -> None:
    home = directory / "a"
    home.mkdir()
    agent = HostAgent(home, boot=None, degraded=False, life=600)
    with agent.listener, running(agent.run, home):
        assert wait((home / "ha.pid").exists, 30)
        driver = live_pid(home / "qemu.pid")
        home.rename(home.with_name("gone"))
        os.waitpid(driver, 0)


def test_a_process_may_be_too_old(directory: Path) -> None:
    assert Stop(directory, -1).wanted()
    assert not Stop(directory, 600).wanted()
    assert Stop(directory / "gone", 600).wanted()


def test_signals_ask_to_stop(directory: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    try:
        with Stop(directory, 600).listen() as stop:
            signal.raise_signal(signal.SIGCHLD)
            assert stop.wait([], 60) == []
            assert not stop.wanted()
            signal.raise_signal(signal.SIGTERM)
            assert stop.wait([], 60) == []
            assert stop.wanted()
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_what_a_daemon_dies_of_is_in_its_log(directory: Path) -> None:
    def work() -> None:
        raise ValueError("boom")

    fork(work, directory, "d")
    log = directory / "d.stderr.log"
    assert wait(lambda: log.exists() and "ValueError: boom" in log.read_text(), 30)


def test_a_network(directory: Path) -> None:
    paths = usernet.Paths(directory, "n")
    paths.directory.mkdir(parents=True)
    state = usernet.State("192.168.231.1", "255.255.255.0", {"192.168.231.1": "aa"})
    with running(lambda stop: usernet.run(paths, state, stop), paths.directory):
        assert wait(lambda: live_pid(paths.pid) > 0, 30)
        usernet.ask(paths, "/fake/join", {"mac": "bb", "port": 5})
        usernet.ask(paths, "/fake/leave", {"port": 5})
        assert usernet.ask(paths, "/services/forwarder/expose", _port_forward()) == b""
        assert usernet.ask(paths, "/bogus", {}) == b"404 page not found\n"
        cards = {"aa", "bb", usernet.GATEWAY_CARD}
        assert set(Usernet(paths.endpoint).leases().values()) == cards
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as rude:
            rude.connect(str(paths.endpoint))
            rude.sendall(b"\r\n")
        assert Usernet(paths.endpoint).alive()
    assert sorted(path.name for path in paths.directory.iterdir()) == ["leases.json"]


def _port_forward() -> dict[str, str]:
    return {"local": f"127.0.0.1:{free_port()}", "remote": "x", "protocol": "tcp"}


def test_two_daemons_of_a_network_are_one(directory: Path) -> None:
    paths = usernet.Paths(directory, "n")
    paths.directory.mkdir(parents=True)
    state = usernet.State("192.168.231.1", "255.255.255.0", {})
    with running(lambda stop: usernet.run(paths, state, stop), paths.directory):
        assert wait(lambda: live_pid(paths.pid) > 0, 30)
        with pytest.raises(OSError, match="in use"):
            usernet.run(paths, state, Stop(paths.directory, 600))


@pytest.mark.parametrize(
    ("text", "size"), [("768MiB", 768 << 20), ("1.5GiB", 3 << 29), ("2G", 2 << 30), (512, 512)]
)
def test_sizes(text: object, size: int) -> None:
    assert lima_yaml.size(text) == size


def test_sizes_as_text() -> None:
    assert [lima_yaml.size_text(n) for n in (100, 4 << 10, 3 << 29, 1 << 40)] == [
        "100B",
        "4KiB",
        "1.5GiB",
        "1TiB",
    ]
    with pytest.raises(Fatal, match="invalid size"):
        lima_yaml.size("much")


def test_expressions() -> None:
    raw = {"networks": [{"lima": "a"}], "cpus": 1}
    changed = lima_yaml.changed(
        raw,
        [
            '.cpus = 2 | .memory = "1GiB"',
            '.networks[0].lima = "b"',
            '.vmOpts.qemu.cpuType.x86_64 = "max"',
            '.provision[0] = {"mode": "boot"}',
        ],
    )
    assert changed["networks"] == [{"lima": "b"}]
    assert (changed["cpus"], changed["memory"]) == (2, "1GiB")
    assert changed["vmOpts"] == {"qemu": {"cpuType": {"x86_64": "max"}}}
    assert changed["provision"] == [{"mode": "boot"}]
    assert raw == {"networks": [{"lima": "a"}], "cpus": 1}
    with pytest.raises(Fatal, match="does not understand"):
        lima_yaml.changed(raw, ["del(.cpus)"])
