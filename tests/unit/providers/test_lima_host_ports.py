"""The process that holds the ports of a cluster of virtual machines, from its start to its end.

The process is the real one; the way into the machines' network ends on this host.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ProviderError
from ohmykube.kit import relay_server
from ohmykube.model.exposure import Exposed, ExposedPort, Exposure, FixedPort, Orders
from ohmykube.model.exposure import orders as read_orders
from ohmykube.model.machine import MachineSpec
from ohmykube.providers.base import FollowsServices, KeepsHelpers
from ohmykube.providers.lima import host_ports, processes
from ohmykube.providers.port_process import STOPPED
from tests.lima_world import OneAtATime, World, world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ohmykube.providers.lima.provider import LimaProvider

pytestmark = pytest.mark.linux
ONE = MachineSpec(cluster="dev", node="cp1", cpus=1, memory_mib=512)


def here(_config: Path, _node: str, path: Path) -> tuple[str, ...]:
    """Return a command that leads to this host's own network."""
    return (sys.executable, "-c", inspect.getsource(relay_server), str(path))


@pytest.fixture
def place() -> Iterator[World]:
    with world("2.0.3", here) as found:
        yield found
        for cluster in ("dev", "dev-2"):
            for machine in found.provider().list(cluster):
                found.provider().delete(cluster, machine.node)
        assert not list(found.home.own.glob("ports/*/"))


@pytest.fixture
def provider(place: World) -> LimaProvider:
    made = place.provider()
    made.create(ONE)
    return made


@contextmanager
def serving() -> Iterator[ExposedPort]:
    """Give a server that sends a word to whoever connects."""
    with socket.create_server(("127.77.0.5", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    made, _ = server.accept()
                    made.sendall(b"word")
                    made.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield ExposedPort(*server.getsockname())
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def answers(at: str) -> bool:
    host, _, port = at.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), 30) as made:
            return made.recv(10) == b"word"
    except OSError:
        return False


def ordered(place: World) -> Orders:
    return read_orders(json.loads((place.home.own / "ports/dev/ports.json").read_text()))


def pid_of(place: World) -> int:
    return int((place.home.own / "ports/dev/ports.pid").read_text())


def lives(pid: int) -> bool:
    return "ohmykube.kube.exposure" in processes.command(pid)


def test_it_follows_services_and_is_a_helper(provider: LimaProvider) -> None:
    assert isinstance(provider, FollowsServices)
    assert isinstance(provider, KeepsHelpers)


def test_nothing_runs_where_nothing_is_wanted(place: World, provider: LimaProvider) -> None:
    assert provider.expose("dev", Exposure()) == Exposed()
    assert provider.publish("dev", []) == {}
    provider.restore_helpers("dev")
    assert provider.exposed("dev") == Exposed()
    assert not (place.home.own / "ports/dev/ports.pid").exists()


def test_ports_are_held_for_as_long_as_a_machine_runs(
    place: World, provider: LimaProvider, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """Killed, it is back with the next command; and with the start of a machine after a stop."""
    with serving() as target:
        fixed = FixedPort(host_port=free(), node_port=1)
        provider.expose("dev", Exposure(fixed=(fixed,)))
        (place_of,) = provider.publish("dev", [target]).values()
        assert answers(place_of)
        told = provider.exposed("dev")
        assert {port.place for port in told.ports} == {place_of, f"127.0.0.1:{fixed.host_port}"}
        first = pid_of(place)
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: not lives(first))
        assert provider.exposed("dev") == Exposed(problem=STOPPED)
        provider.restore_helpers("dev")
        assert answers(place_of)
        assert pid_of(place) != first
        provider.stop("dev", "cp1")
        assert not (place.home.own / "ports/dev/ports.pid").exists()
        assert not answers(place_of)
        provider.restore_helpers("dev")
        assert provider.exposed("dev") == Exposed(problem=STOPPED)
        place.provider().start("dev", "cp1")
        assert answers(place_of)
        assert provider.exposed("dev") == told


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_one_process_is_told_of_machines_that_come_and_go(
    place: World, provider: LimaProvider
) -> None:
    """It goes through any of them, and keeps its ports meanwhile, for it is the same one."""
    with serving() as target:
        (place_of,) = provider.publish("dev", [target]).values()
        first = pid_of(place)
        assert ordered(place).nodes == ("192.168.110.1",)
        provider.create(replace(ONE, node="w1"))
        assert ordered(place).nodes == ("192.168.110.1", "192.168.110.3")
        assert len(ordered(place).relays) == 2
        provider.stop("dev", "cp1")
        assert ordered(place).nodes == ("192.168.110.3",)
        assert answers(place_of)
        provider.delete("dev", "cp1")
        assert pid_of(place) == first
        assert answers(place_of)
        provider.delete("dev", "w1")
        assert not lives(first)
        assert provider.publish("dev", [target]) == {}


def test_what_has_not_changed_is_not_told_again(place: World, provider: LimaProvider) -> None:
    """The way stays open: its command is the same, although each one has a place of its own."""
    with serving() as target:
        provider.publish("dev", [target])
        before = ordered(place)
        provider.publish("dev", [target])
        assert ordered(place) == before


def test_limactl_is_not_asked_where_the_process_is_there(
    place: World, provider: LimaProvider
) -> None:
    """Each command that needs a cluster looks after its helpers, and most find them at work."""
    assert isinstance(place.run, OneAtATime)
    with serving() as target:
        provider.publish("dev", [target])
        before = len(place.run.calls)
        provider.restore_helpers("dev")
        assert len(place.run.calls) == before


def test_another_version_of_this_program_begins_anew(
    place: World, provider: LimaProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as target:
        places = provider.publish("dev", [target])
        first = pid_of(place)
        monkeypatch.setattr(host_ports, "__version__", "99.0.0")
        assert provider.publish("dev", [target]) == places
        assert pid_of(place) != first
        assert not lives(first)


@pytest.mark.parametrize("name", ["ports.json", "ports-report.json", "ports.pid"])
def test_a_damaged_file_is_as_none(place: World, provider: LimaProvider, name: str) -> None:
    with serving() as target:
        provider.publish("dev", [target])
        first = pid_of(place)
        (place.home.own / "ports/dev" / name).write_text("{")
        (place_of,) = provider.publish("dev", [target]).values()
        assert answers(place_of)
        if name == "ports.pid":
            os.kill(first, signal.SIGKILL)


def test_a_process_that_does_not_work_is_an_error(
    place: World, provider: LimaProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohmykube.providers.port_process.PROGRAM", "ohmykube.no_such_module")
    with serving() as target:
        with pytest.raises(ProviderError) as caught:
            provider.publish("dev", [target])
        assert caught.value.id == "OMK-P-540"
        assert "no_such_module" in (caught.value.why or "")
        monkeypatch.undo()
        (place_of,) = provider.publish("dev", [target]).values()
        assert answers(place_of)
    assert place.home.own.exists()


def test_a_cluster_that_is_not_there_cannot_be_exposed(provider: LimaProvider) -> None:
    with pytest.raises(ProviderError) as caught:
        provider.expose("other", Exposure())
    assert caught.value.id == "OMK-P-700"
    assert provider.exposed("other") == Exposed()


def test_only_its_user_reads_what_it_is_told(place: World, provider: LimaProvider) -> None:
    """There is a token of the API in it."""
    with serving() as target:
        provider.publish("dev", [target])
        for path in (place.home.own / "ports/dev").glob("*.json"):
            assert path.stat().st_mode & 0o077 == 0
