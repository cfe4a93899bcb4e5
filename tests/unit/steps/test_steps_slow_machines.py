"""What waits for machines waits as many times longer as they are slower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import ClusterError, NodeError, UnreachableError
from ohmykube.kit import paths, remote_command, retry
from ohmykube.kube.api import ClusterApi
from ohmykube.model.machine import Machine, MachineState, SshTarget
from ohmykube.providers import ssh_config
from ohmykube.providers.base import Capabilities, ProviderContext
from ohmykube.steps.connect_nodes import ANSWER, connect_nodes
from ohmykube.steps.context import Context, Services
from ohmykube.steps.node_shell import NodeShell
from ohmykube.steps.nodes import Nodes
from ohmykube.steps.wait_ready import wait_ready
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.reporter import RecordingReporter
from tests.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def deaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give an ssh that reaches nobody."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec >&2\necho 'Connection refused'\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def of(place: Path, clock: FakeClock, slowdown: int) -> tuple[Context, dict[str, Machine]]:
    """Return the context of a cluster of one node, and its machine."""
    services = Services(paths=paths.from_environment(), reporter=RecordingReporter(), clock=clock)
    cluster = load.from_overrides(Overrides(name="dev", provider="fake", workers=0))
    context = ProviderContext(paths=services.paths, reporter=services.reporter, cluster=cluster)
    powers = Capabilities(creates=True, powers=True, slowdown=slowdown)
    target = SshTarget(address="127.0.0.1", user="omk")
    running = MachineState.RUNNING
    machine = Machine(cluster="dev", node="cp1", state=running, address="10.0.0.1", ssh=target)
    ctx = Context(
        services=services,
        cluster=cluster,
        provider=FakeProvider(context, powers),
        directory=place,
        run_directory=place,
    )
    return ctx, {"cp1": machine}


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("slowdown", [1, 6])
def test_ssh_is_waited_for(tmp_path: Path, clock: FakeClock, slowdown: int) -> None:
    ctx, machines = of(tmp_path, clock, slowdown)
    with pytest.raises(UnreachableError):
        connect_nodes(ctx, machines)
    assert clock.time == pytest.approx(ANSWER.seconds * slowdown)
    text = (tmp_path / "ssh_config").read_text()
    assert f"ConnectTimeout {10 * slowdown}\n" in text
    assert f"ServerAliveCountMax {4 * slowdown}\n" in text


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize(
    ("seconds", "slowdown", "waited"), [(None, 1, 50), (None, 6, 300), (20, 6, 20)]
)
def test_nodes_are_waited_for(
    tmp_path: Path, clock: FakeClock, seconds: float | None, slowdown: int, waited: float
) -> None:
    """What the user says of the time holds as it is."""
    ctx, machines = of(tmp_path, clock, slowdown)
    nodes = Nodes(machines=machines, ssh_config=tmp_path / "ssh_config", slowdown=slowdown)
    with pytest.raises(ClusterError, match=f"not healthy after {waited} s"):
        wait_ready(ctx, nodes, seconds, usual=50)
    assert clock.time == pytest.approx(waited)


def test_a_command_on_a_slow_node_has_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\necho '{remote_command.BEGIN}'\nexec sleep 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(NodeError):
        NodeShell(tmp_path / "c", "cp1")(["true"], timeout=0.2)
    NodeShell(tmp_path / "c", "cp1", slowdown=100)(["true"], timeout=0.2)


def test_slow_machines_are_asked_less_often() -> None:
    wait = retry.Wait(seconds=2, every=0.5, factor=1.5, longest=1)
    assert wait.times(3) == retry.Wait(
        seconds=6, every=1.5, factor=1.5, longest=3, rest=retry.SLOW_REST
    )
    assert wait.times(1) == wait


def test_the_usual_configuration_of_ssh_is_as_before(tmp_path: Path) -> None:
    target = SshTarget(address="127.0.0.1", user="omk")
    text = ssh_config.render({"cp1": target}, tmp_path)
    assert "ConnectTimeout 10\n" in text
    assert text == ssh_config.render({"cp1": target}, tmp_path, slowdown=1)


def test_questions_to_the_api_have_more_time() -> None:
    asked: list[list[str]] = []

    def shell(argv: Sequence[str], stdin: str = "", timeout: float = 30) -> str:
        assert stdin == ""
        assert timeout == 30, "the shell itself multiplies it"
        asked.append(list(argv))
        return '{"items": []}'

    usual, slow = (ClusterApi("dev", {"cp1": shell}, slowdown=factor) for factor in (1, 6))
    for api in (usual, slow):
        assert api.get_all("nodes") == []
    limits = [word for argv in asked for word in argv if word.startswith("--request-timeout")]
    assert limits == ["--request-timeout=5s", "--request-timeout=30s"]
