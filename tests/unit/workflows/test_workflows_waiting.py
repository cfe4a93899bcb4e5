"""How long whole use-cases wait for a cluster that does not become healthy."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from ohmykube.cli._run import run as command
from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import ClusterError
from ohmykube.kit import paths, remote_command
from ohmykube.model.node_state import NodeState
from ohmykube.steps.connect_nodes import connect_nodes
from ohmykube.steps.context import Services
from ohmykube.steps.hand_over import hand_over
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import power, session, up
from ohmykube.workflows.up_values import UpOptions
from tests import node_answers
from tests.fake_clock import FakeClock
from tests.unit.workflows.begun_run import begin

if TYPE_CHECKING:
    from pathlib import Path

ADMIN = "{clusters: [{name: k, cluster: {server: x}}], users: [{name: a, user: {}}]}"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def services(clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Give services for a cluster whose only node answers, and is never Ready."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    state = json.dumps(node_answers.document(NodeState(nodes=(), dns_answers=True)))
    program.write_text(
        f"#!/bin/sh\necho '{remote_command.BEGIN}'\n"
        'case "$*" in\n'
        f"*' cat '*) echo '{ADMIN}' ;;\n*python3*) echo '{state}' ;;\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    made = Services(paths=paths.from_environment(), reporter=RecordingReporter(), clock=clock)
    cluster = load.from_overrides(Overrides(name="dev", provider="fake", workers=0))
    with session.working(made, cluster) as ctx:
        begin(ctx)
    return made


def run_again(services: Services, options: UpOptions) -> None:
    """Do what an `up` of the cluster does once its playbook has ended."""
    _, cluster = session.recorded(services, "dev")
    with session.working(services, cluster) as ctx:
        nodes = connect_nodes(ctx, begin(ctx))
        hand_over(ctx, nodes, options.wait_seconds, usual=up.WAIT_SECONDS)


def waited(error: pytest.ExceptionInfo[ClusterError]) -> int:
    found = re.search(r"is not healthy after (\d+) s", error.value.message)
    assert found, error.value.message
    assert "has not joined" in (error.value.why or "")
    return int(found[1])


def test_up_waits_as_long_as_its_help_says(
    services: Services, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ClusterError) as caught:
        run_again(services, UpOptions())
    assert command(["up", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    told = re.search(r"may take to become ready \(default: (\d+), more for emulated", text)
    assert told, text
    assert waited(caught) == int(told[1]) == round(clock.time)


def test_up_waits_as_long_as_it_was_told(services: Services, clock: FakeClock) -> None:
    with pytest.raises(ClusterError) as caught:
        run_again(services, UpOptions(wait_seconds=77))
    assert waited(caught) == 77 == round(clock.time)


def test_start_waits_half_as_long_as_up(services: Services, clock: FakeClock) -> None:
    with pytest.raises(ClusterError) as of_up:
        run_again(services, UpOptions())
    clock.time = 0
    power.stop(services, "dev")
    with pytest.raises(ClusterError) as of_start:
        power.start(services, "dev")
    assert waited(of_start) == round(clock.time) == waited(of_up) / 2
