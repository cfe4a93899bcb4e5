"""The process that holds a cluster's ports: started, told, ended, and begun anew."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from simulated_host import PORTS, Simulation

from ohmykube.errors import ProviderError
from ohmykube.kit.paths import Paths
from ohmykube.model.exposure import (
    ApiAccess,
    Exposed,
    ExposedPort,
    Exposure,
    FixedPort,
)
from ohmykube.model.machine import MachineSpec
from ohmykube.providers.base import FollowsServices, ProviderContext
from ohmykube.providers.nspawn import host_ports
from ohmykube.providers.nspawn.provider import NspawnProvider
from ohmykube.providers.port_process import STOPPED
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path

ONE = MachineSpec(cluster="dev", node="cp1")
PORT = ExposedPort("10.88.0.11", 80)
ACCESS = ApiAccess(servers=("10.88.0.11:6443",), authority="ca", token="t")


@pytest.fixture(params=[1, 2])
def simulation(request: pytest.FixtureRequest, tmp_path: Path) -> Simulation:
    return Simulation(tmp_path / "host", request.param)


@pytest.fixture
def provider(simulation: Simulation, tmp_path: Path) -> NspawnProvider:
    paths = Paths(state=tmp_path / "s", data=tmp_path / "d", cache=tmp_path / "c")
    context = ProviderContext(paths=paths, reporter=RecordingReporter())
    made = NspawnProvider(context, simulation.host())
    made.create(ONE)
    return made


def started(simulation: Simulation) -> list[tuple[str, ...]]:
    """Return the command lines of the processes that were started for ports."""
    return [argv for argv in simulation.ran if PORTS in argv]


def processes(simulation: Simulation) -> list[int]:
    found = simulation.proc.glob("[0-9]*/status")
    return [int(path.parent.name) for path in found if "Orders:" in path.read_text()]


def test_a_cluster_of_which_nothing_is_wanted_has_no_process(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    assert isinstance(provider, FollowsServices)
    assert provider.expose("dev", Exposure()) == Exposed()
    assert provider.publish("dev", []) == {}
    assert started(simulation) == []
    provider.publish("dev", [PORT])
    assert len(processes(simulation)) == 1
    assert provider.publish("dev", []) == {}
    assert processes(simulation) == []


def test_one_process_is_told_of_each_change(
    simulation: Simulation, provider: NspawnProvider, tmp_path: Path
) -> None:
    """It keeps its ports meanwhile, for it is the same one; what is told is nobody else's."""
    provider.publish("dev", [PORT])
    (pid,) = processes(simulation)
    provider.publish("dev", [PORT, replace(PORT, port=81)])
    provider.expose("dev", Exposure(access=ACCESS, fixed=(FixedPort(host_port=1, node_port=2),)))
    assert simulation.signals == [(pid, signal.SIGHUP)] * 2
    provider.expose("dev", Exposure(access=ACCESS, fixed=(FixedPort(host_port=1, node_port=2),)))
    assert processes(simulation) == [pid]
    assert len(simulation.signals) == 2, "nothing has changed"
    file = tmp_path / "d/nspawn/dev/ports.json"
    assert file.stat().st_mode & 0o777 == 0o600
    told = json.loads(file.read_text())
    assert told["nodes"] == ["10.88.0.11"]
    assert [one["port"] for one in told["listed"]] == [80, 81], "neither takes the other's away"
    assert told["exposure"]["fixed"][0]["host_port"] == 1


def test_it_is_told_of_nodes_that_come_and_go(
    simulation: Simulation, provider: NspawnProvider, tmp_path: Path
) -> None:
    """And packets from this host to services go through all of them."""
    file = tmp_path / "d/nspawn/dev/ports.json"
    provider.publish("dev", [PORT])
    provider.create(replace(ONE, node="w1"))
    assert json.loads(file.read_text())["nodes"] == ["10.88.0.11", "10.88.0.12"]
    routes = [argv for argv in simulation.ran if argv[4:7] == ("route", "replace", "default")]
    assert routes[-1][-6:] == ("nexthop", "via", "10.88.0.11", "nexthop", "via", "10.88.0.12")
    provider.delete("dev", "w1")
    assert json.loads(file.read_text())["nodes"] == ["10.88.0.11"]
    assert all("-n" in argv for argv in simulation.ran if argv[0] == "ip" and "netns" not in argv)


def test_what_was_killed_is_back_with_the_next_command(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    places = provider.publish("dev", [PORT])
    (pid,) = processes(simulation)
    simulation.kill(pid, signal.SIGKILL)
    assert provider.exposed("dev") == Exposed(problem=STOPPED)
    assert provider.publish("dev", [PORT]) == places
    assert processes(simulation) != [pid]


def test_another_version_of_this_program_begins_anew(
    simulation: Simulation, provider: NspawnProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = provider.publish("dev", [PORT])
    (pid,) = processes(simulation)
    monkeypatch.setattr(host_ports, "__version__", "99.0.0")
    assert provider.publish("dev", [PORT]) == places
    assert len(processes(simulation)) == 1
    assert processes(simulation) != [pid]


@pytest.mark.parametrize("fault", ["it ends", "it says nothing"])
def test_a_process_that_does_not_work_is_an_error_and_ended(
    simulation: Simulation, provider: NspawnProvider, fault: str
) -> None:
    simulation.mute = fault == "it says nothing"
    if fault == "it ends":
        simulation.stillborn = "Traceback: no such file"
    with pytest.raises(ProviderError) as caught:
        provider.publish("dev", [PORT])
    assert caught.value.id == "OMK-P-540"
    assert caught.value.why is not None
    assert ("does not answer" in caught.value.why) is simulation.mute
    assert processes(simulation) == []
    simulation.mute, simulation.stillborn = False, ""
    assert provider.publish("dev", [PORT]) == {PORT: "127.0.0.1:80"}


def test_a_report_that_is_damaged_is_as_none(
    simulation: Simulation, provider: NspawnProvider, tmp_path: Path
) -> None:
    places = provider.publish("dev", [PORT])
    for name in ("ports.json", "ports-report.json"):
        (tmp_path / "d/nspawn/dev" / name).write_text("{")
        assert provider.publish("dev", [PORT]) == places
        assert len(processes(simulation)) == 1


def test_why_services_are_not_known_is_told(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    simulation.api_problem = "it is down"
    assert provider.expose("dev", Exposure(access=ACCESS)).problem == "it is down"
    assert provider.exposed("dev").problem == "it is down"


def test_a_refusal_is_given_time_and_then_told(
    simulation: Simulation, provider: NspawnProvider
) -> None:
    """What was just granted comes into force a bit later."""
    simulation.api_problem, simulation.refused = "403 Forbidden", True
    clock = simulation.clock
    before = clock.now()
    told = provider.expose("dev", Exposure(access=ACCESS))
    assert (told.problem, told.refused) == ("403 Forbidden", True)
    assert clock.now() > before


def test_a_cluster_that_is_not_there_cannot_be_exposed(provider: NspawnProvider) -> None:
    with pytest.raises(ProviderError) as caught:
        provider.expose("other", Exposure(access=ACCESS))
    assert caught.value.id == "OMK-P-115"
    assert provider.exposed("other") == Exposed()
