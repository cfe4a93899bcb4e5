"""The steps of `up` as far as machines without guests can go, and power, over the provider lima."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit import files, process, remote_command
from ohmykube.kit.paths import Paths
from ohmykube.model import change
from ohmykube.model.machine import MachineState
from ohmykube.state import layout
from ohmykube.steps.connect_nodes import connect_nodes
from ohmykube.steps.context import Context, Services
from ohmykube.steps.create_nodes import all_running, create_nodes, prepare_nodes
from ohmykube.steps.plan import make_plan
from ohmykube.steps.preflight import preflight
from ohmykube.steps.write_inventory import write_inventory
from tests.lima_world import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place() -> Iterator[World]:
    with world() as found:
        yield found


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an ssh that reaches every node, and the file with what it was called with."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\necho "{remote_command.BEGIN}"\n')
    program.chmod(0o755)
    (program.parent / "qemu-system-x86_64").symlink_to("/bin/true")
    (program.parent / "qemu-img").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "asked"


def context_of(place: World) -> Context:
    """Return the context of a run over the provider, as a workflow opens it."""
    paths = Paths(state=place.root / "s", data=place.root / "d", cache=place.root / "c")
    directory = paths.state / "clusters" / "dev"
    files.ensure_directory(directory / "run")
    cluster = place.cluster(emulation=True)
    return Context(
        services=Services(paths=paths, reporter=place.reporter),
        cluster=cluster,
        provider=place.provider(cluster),
        directory=directory,
        run_directory=directory / "run",
    )


def inventory_of(path: Path, **environ: str) -> dict[str, dict[str, object]]:
    """Return the variables of all hosts as Ansible reads them."""
    env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), **environ}
    argv = [sys.executable, "-m", "ansible", "inventory", "-i", str(path), "--list"]
    done = process.run(argv, timeout=60, env=env, cwd=path.parent)

    def plain(value: dict[str, object]) -> object:
        return value["__ansible_unsafe"] if list(value) == ["__ansible_unsafe"] else value

    found = json.loads(done.stdout, object_hook=plain)
    hostvars: dict[str, dict[str, object]] = found["_meta"]["hostvars"]
    for group in ("kube_control_plane", "kube_node"):
        for host in found[group]["hosts"]:
            hostvars[host]["group"] = group
    return hostvars


def test_up_to_the_inventory(place: World, ssh: Path, tmp_path: Path) -> None:
    ctx = context_of(place)
    preflight(ctx)
    observed, plan = make_plan(ctx)
    prepare_nodes(ctx, observed, plan)
    nodes = connect_nodes(ctx, create_nodes(ctx, observed, plan, {}))
    inventory = write_inventory(ctx, nodes)
    assert [type(one) for one in plan.changes] == [change.CreateNode] * 2
    config = (ctx.directory / layout.SSH_CONFIG).read_text()
    for machine in nodes.machines.values():
        assert machine.ssh is not None
        assert f"Port {machine.ssh.port}\n" in config
    assert config.count("UserKnownHostsFile /dev/null") == 2
    assert f'IdentityFile "{place.home.identity}"' in config
    assert "-- true" in ssh.read_text()
    rendered = inventory_of(inventory)
    # The inventory of a run is what the plugin gives, frozen, and with what is the cluster's.
    plugin = tmp_path / "dev.lima.yml"
    wanted = {"plugin": "ohmykube.cluster.lima", "cluster": "dev",
              "lima_home": str(place.home.root), "limactl": str(place.program)}  # fmt: skip
    plugin.write_text(json.dumps(wanted))
    asked = inventory_of(plugin, ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="true")
    assert set(rendered) == set(asked) == {"cp1", "w1"}
    same = ("group", "ansible_user", "ansible_become", "ansible_python_interpreter",
            "kubeadm_node_name", "kubeadm_node_ip")  # fmt: skip
    for host in rendered:
        assert {n: rendered[host][n] for n in same} == {n: asked[host][n] for n in same}


def test_a_second_run_finds_all_there(place: World, ssh: Path) -> None:
    ctx = context_of(place)
    connect_nodes(ctx, create_nodes(ctx, *make_plan(ctx), {}))
    first = ssh.read_text()
    observed, plan = make_plan(ctx)
    connect_nodes(ctx, create_nodes(ctx, observed, plan, {}))
    assert plan.changes == (change.FinishRun(),)
    assert all_running(ctx, observed)
    assert not plan.resizes
    assert ssh.read_text() != first


def test_what_is_stopped_or_half_made_is_planned(place: World) -> None:
    ctx = context_of(place)
    create_nodes(ctx, *make_plan(ctx), {})
    ctx.provider.stop("dev", "w1")
    place.damage("dev", "cp1")
    observed, plan = make_plan(ctx)
    assert plan.changes == (
        change.RepairNode(node="cp1"), change.StartNode(node="w1"), change.FinishRun(),
    )  # fmt: skip
    before = observed.machines["w1"].address
    machines = create_nodes(ctx, observed, plan, {})
    assert machines["w1"].address == before
    assert {m.state for m in machines.values()} == {MachineState.RUNNING}
