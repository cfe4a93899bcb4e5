"""Networks and ports of Lima's clusters, where they run out or somebody else is in the way."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ProviderError
from ohmykube.kit import host_routes
from ohmykube.model.machine import MachineSpec
from ohmykube.providers.lima import network, processes, records
from ohmykube.providers.lima.network import Networks
from ohmykube.providers.lima.records import ClusterRecord
from ohmykube.providers.lima.usernet import UsernetDown, UsernetError
from tests.lima_world import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = MachineSpec(cluster="dev", node="cp1", cpus=1, memory_mib=512)
ROUTES = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    "eth0\t006EA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
)


@pytest.fixture
def place() -> Iterator[World]:
    with world() as found:
        yield found


def test_networks_that_the_host_has_routes_to_are_kept_clear_of(
    place: World, tmp_path: Path
) -> None:
    path = tmp_path / "route"
    path.write_text(ROUTES)
    (found,) = host_routes.routes(path, tmp_path / "absent")
    nets = Networks(place.home, place.limactl, lambda: [found.network])
    with place.home.exclusive():
        assert nets.ensure("dev").number == 111
        assert nets.ensure("dev").number == 111
        assert nets.ensure("other").number == 112


def test_a_network_that_is_gone_is_made_again_as_it_was(place: World) -> None:
    with place.home.exclusive():
        first = place.networks.ensure("dev")
        place.limactl.network_delete(first.network)
        assert place.networks.ensure("dev") == first
    assert first.network in {one.name for one in place.limactl.network_list()}


def test_no_range_is_left(place: World) -> None:
    everything = ipaddress.IPv4Network("192.168.0.0/16")
    with pytest.raises(ProviderError) as caught:
        Networks(place.home, place.limactl, lambda: [everything]).ensure("dev")
    assert caught.value.id == "OMK-P-522"


def test_no_port_is_left(place: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.home.exclusive():
        place.networks.ensure("dev")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(
            network, "PORTS", range(taken.getsockname()[1], taken.getsockname()[1] + 1)
        )
        with pytest.raises(ProviderError) as caught:
            place.networks.endpoint("dev", "192.0.2.1:6443")
    assert caught.value.id == "OMK-P-524"


def test_a_network_that_was_never_there_is_removed_without_ado(place: World) -> None:
    place.networks.remove("dev")
    place.networks.clear_dead_daemon("omk110", {})
    assert not place.home.network_directory("omk110").exists()
    place.networks.clear_dead_daemon("omk110", {"192.0.2.1": "52:55:55:00:00:01"})
    leases = place.home.network_directory("omk110") / "leases.json"
    assert json.loads(leases.read_text()) == {"192.0.2.1": "52:55:55:00:00:01"}
    leases.write_text("{")
    place.networks.clear_dead_daemon("omk110", {"192.0.2.2": "52:55:55:00:00:01"})
    assert json.loads(leases.read_text()) == {"192.0.2.2": "52:55:55:00:00:01"}


RECORD = ClusterRecord(cluster="dev", network="omk110", number=110, endpoints={"192.0.2.3:9": 9})


class Daemon:
    """A daemon that dies at a certain request."""

    def __init__(self, *, down_at: str) -> None:
        self.down_at = down_at
        self.asked: list[str] = []

    def forwards(self) -> tuple[()]:
        self._ask("forwards")
        return ()

    def expose(self, local: str, remote: str, protocol: str) -> None:
        del local, remote, protocol
        if self.down_at == "second forwards":
            self.down_at = "forwards"
            raise UsernetError("refused")
        self._ask("expose")

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what == self.down_at:
            raise UsernetDown("down")


@pytest.mark.parametrize("when", ["forwards", "expose"])
def test_a_daemon_that_goes_meanwhile_is_no_error(place: World, when: str) -> None:
    nets, daemon = place.networks, Daemon(down_at=when)
    nets.daemon = lambda _network: daemon  # type: ignore[method-assign, assignment, return-value]
    nets.reconcile(RECORD)
    assert daemon.asked[-1] == when


def test_what_is_refused_by_one_that_then_goes_is_said(place: World) -> None:
    nets, daemon = place.networks, Daemon(down_at="second forwards")
    nets.daemon = lambda _network: daemon  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(Exception, match="cannot lead to"):
        nets.reconcile(RECORD)


def test_a_port_that_another_process_of_ours_opened_first_is_fine(place: World) -> None:
    provider = place.provider()
    machine = provider.create(SPEC)
    record = records.read(place.home, "dev")
    assert record is not None
    local = f"127.0.0.1:{record.endpoints[f'{machine.address}:22']}"
    place.networks._expose(record, local, f"{machine.address}:22", "tcp")


def test_a_process_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "x.pid"
    gone.write_text("999999999\n")
    assert processes.command(999999999) == ""
    assert "python" in processes.command(os.getpid())
    processes.end(gone, tmp_path)
    assert not gone.exists()
    gone.write_text("999999999\n")
    processes.end(gone, tmp_path, lambda _pid: str(tmp_path))
    processes.end(gone, tmp_path)


def test_a_host_without_proc_is_asked_by_ps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a whole: the place that says whose process it is may stand at the end of a long line."""
    program = tmp_path / "ps"
    program.write_text('#!/bin/sh\ntest "$1" = -ww && echo "limactl $5"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert processes.command(7, tmp_path / "absent") == "limactl 7\n"
