"""The kubeconfig comes from a control plane that answers, whichever that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from ohmykube.errors import ClusterError
from ohmykube.steps.cluster_api import cluster_api
from ohmykube.steps.fetch_kubeconfig import ANSWER, fetch_kubeconfig
from tests.fake_clock import FakeClock
from tests.unit.steps.made_run import cluster_of, install_ssh, made_run

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

ADMIN = "{clusters: [{name: k, cluster: {server: x}}], users: [{name: a, user: {token: %s}}]}"
CLUSTER = cluster_of(["cp1", "cp2"])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def run(clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Context, Nodes]:
    """Give a run whose ssh reaches all nodes, and whose API servers answer where a file says so."""
    install_ssh(
        tmp_path,
        monkeypatch,
        f'case "$*" in\n*" cat "*) echo "{ADMIN % "$3"}" ;;\n'
        f'*) [ -e "{tmp_path}/$3" ] || {{ echo "$3 refused" >&2; exit 1; }} ;;\nesac',
    )
    return made_run(tmp_path, CLUSTER, clock=clock)


def test_it_leads_to_the_control_plane_that_answers(
    run: tuple[Context, Nodes], tmp_path: Path
) -> None:
    ctx, nodes = run
    (tmp_path / "cp2").touch()
    path = fetch_kubeconfig(ctx, nodes, cluster_api(CLUSTER, nodes))
    found = yaml.safe_load(path.read_text())
    assert found["users"][0]["user"]["token"] == "cp2"
    assert (
        found["clusters"][0]["cluster"]["server"] == f"https://{nodes.machines['cp2'].address}:6443"
    )


def test_machines_that_have_just_started_are_waited_for(
    run: tuple[Context, Nodes], clock: FakeClock, tmp_path: Path
) -> None:
    ctx, nodes = run
    clock.meanwhile = (tmp_path / "cp1").touch
    fetch_kubeconfig(ctx, nodes, cluster_api(CLUSTER, nodes))
    assert 0 < clock.time < ANSWER.seconds


def test_when_none_answers_in_time_each_is_named(
    run: tuple[Context, Nodes], clock: FakeClock
) -> None:
    ctx, nodes = run
    with pytest.raises(ClusterError) as caught:
        fetch_kubeconfig(ctx, nodes, cluster_api(CLUSTER, nodes))
    assert caught.value.id == "OMK-K-260"
    assert caught.value.why == "cp1: cp1 refused\ncp2: cp2 refused"
    assert clock.time == pytest.approx(ANSWER.seconds)
