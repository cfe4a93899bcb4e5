"""Which control planes of a run are asked, and why others are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ClusterError
from ohmykube.model.machine import Machine, MachineState, SshTarget
from ohmykube.steps.cluster_api import cluster_api
from ohmykube.steps.nodes import Nodes
from tests.unit.steps.made_run import cluster_of, install_ssh

if TYPE_CHECKING:
    from pathlib import Path

CLUSTER = cluster_of(["cp1", "cp2", "cp3"], ["w1"])


def machine(node: str, state: MachineState = MachineState.RUNNING) -> Machine:
    ssh = SshTarget(address="127.0.0.1", user="root")
    return Machine(cluster="dev", node=node, state=state, address="10.0.0.1", ssh=ssh)


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Give nodes of which cp1 has no machine and cp2 is stopped; ssh notes whom it reaches."""
    install_ssh(tmp_path, monkeypatch, f'echo "$3" >>{tmp_path / "reached"}\necho ok')
    found = (machine("cp2", MachineState.STOPPED), machine("cp3"), machine("w1"))
    return Nodes(machines={one.node: one for one in found}, ssh_config=tmp_path / "config")


def test_only_control_planes_that_run_are_asked(nodes: Nodes, tmp_path: Path) -> None:
    api = cluster_api(CLUSTER, nodes)
    assert api.health() == {
        "cp3": "",
        "cp1": "it has no machine",
        "cp2": "its machine is stopped",
    }
    assert api.control_plane == "cp3"
    assert set((tmp_path / "reached").read_text().split()) == {"cp3"}


def test_without_any_each_is_named(nodes: Nodes) -> None:
    api = cluster_api(CLUSTER, Nodes(machines={}, ssh_config=nodes.ssh_config))
    with pytest.raises(ClusterError) as caught:
        api.version()
    assert str(caught.value.why).splitlines() == [f"cp{n}: it has no machine" for n in (1, 2, 3)]
