"""A kubelet reads the size of its machine when it starts: it is restarted when that changes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from ohmykube.model.change import Plan, ReconfigureNode
from ohmykube.model.machine import MachineSpec, MachineState, Resize, Resizing
from ohmykube.planning.observation import Observed
from ohmykube.state import layout
from ohmykube.steps.nodes import Nodes
from ohmykube.steps.restart_kubelets import restart_kubelets
from tests import node_answers

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.steps.context import Context

FIELDS = ("cpus", "memory", "disk", "labels")


@pytest.mark.parametrize("unfinished", [False, True])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize(("field", "how"), list(itertools.product(FIELDS, Resize)))
def test_those_are_restarted_that_ran_while_their_machine_changed(
    ctx: Context,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    field: str,
    how: Resize,
    runs: bool,
    joined: bool,
    unfinished: bool,
) -> None:
    node_answers.install(tmp_path / "bin", monkeypatch)
    machines = {
        name: ctx.provider.create(MachineSpec(cluster="dev", node=name)) for name in ("cp1", "w1")
    }
    (ctx.directory / layout.SSH_CONFIG).write_text("")
    if not runs:
        ctx.provider.stop("dev", "w1")
        (machines["w1"],) = [m for m in ctx.provider.list("dev") if m.node == "w1"]
        assert machines["w1"].state is MachineState.STOPPED
    resizing = Resizing(**{field: how}) if field != "labels" else Resizing()
    observed = Observed(
        machines=machines,
        joined=frozenset({"w1"} if joined else ()),
        resizing=resizing,
        unfinished=unfinished,
    )
    change = ReconfigureNode(node="w1", field=f"spec.nodes.workers.{field}", old=1, new=2)
    nodes = Nodes(machines=machines, ssh_config=ctx.directory / layout.SSH_CONFIG)
    able = field != "labels" and how is Resize.LIVE and runs and joined
    restart_kubelets(ctx, observed, Plan(), nodes)
    assert node_answers.restarted(tmp_path) == ({"w1"} if able and unfinished else set())
    (tmp_path / "restarted").unlink(missing_ok=True)
    restart_kubelets(ctx, observed, Plan(changes=(change,)), nodes)
    assert node_answers.restarted(tmp_path) == ({"w1"} if able else set())
