"""More than one control plane: none is the first, and any may be lost."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e import test_packaging as packaging
from tests.e2e import two_families
from tests.e2e.bare import nspawn
from tests.e2e.conftest import NOTHING, wait_gone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.conftest import Cli

NAME = "planes"
DESCRIPTION = {
    "apiVersion": "ohmykube.dev/v1",
    "kind": "Cluster",
    "metadata": {"name": NAME},
    "spec": {
        "provider": {"name": "nspawn"},
        "nodes": {"controlPlane": {"count": 3}, "workers": {"count": 1}},
        "network": two_families.NETWORK,
    },
}
PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def check_whole(cli: Cli) -> None:
    """Check that every part of the control plane runs on every one of them."""
    status = cli.json("status", NAME)
    assert status["health"] == "healthy"
    roles = {node["name"]: node["role"] for node in status["nodes"]}
    planes = dict.fromkeys(("cp1", "cp2", "cp3"), "control-plane")
    assert roles == {**planes, "w1": "worker"}
    whole = ("--for=condition=Ready", "pod", "-ltier=control-plane", "--timeout=120s")
    cli.kubectl(NAME, "-nkube-system", "wait", *whole)
    pods = json.loads(cli.kubectl(NAME, "-nkube-system", "get", "pods", "-ojson"))["items"]
    for part in PARTS:
        where = [p["spec"]["nodeName"] for p in pods if p["metadata"]["name"].startswith(part)]
        assert sorted(where) == sorted(planes), part


def remove(cli: Cli, directory: Path, node: str) -> subprocess.CompletedProcess[str]:
    """Take a node out of the cluster by the playbook, without the CLI."""
    inventory = directory / f"{NAME}.ohmykube.yml"
    inventory.write_text(f"plugin: ohmykube.cluster.cluster\ncluster: {NAME}\n")
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", inventory.name]
    return subprocess.run(
        [*argv, "ohmykube.cluster.node_remove", "-e", f"node_remove_nodes={node}"],
        env={
            **cli.env,
            "ANSIBLE_COLLECTIONS_PATH": str(packaging.ROOT / "collections"),
            "ANSIBLE_NOCOLOR": "true",
        },
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.nodes
@pytest.mark.nightly
def test_three_control_planes_of_which_the_first_is_lost(
    cli: Cli, tmp_path: Path, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """Its address is the endpoint of the cluster; the others live on, and it comes back as new.

    In two IP families, so that all parts of a control plane are seen with IPv6.
    """
    file = tmp_path / "cluster.yaml"
    file.write_text(json.dumps(DESCRIPTION))
    up = ("up", "-f", str(file))
    cli.run(*up)
    try:
        check_whole(cli)
        assert cli.json(*up)["changed"] is False
        two_families.check(cli, NAME, {"cp1", "cp2", "cp3", "w1"}, eventually)
        before = cli.on(NAME, "cp2", "cat", "/etc/kubernetes/pki/ca.crt")
        nspawn(cli.home, cli.cache).delete(NAME, "cp1")
        nodes = {node["name"]: node for node in cli.json("status", NAME)["nodes"]}
        assert nodes["cp1"]["machine"] == "missing"
        assert nodes["cp2"]["ready"], "another control plane was asked"
        cli.run(*up)
        check_whole(cli)
        assert cli.on(NAME, "cp1", "cat", "/etc/kubernetes/pki/ca.crt") == before
        kept = remove(cli, tmp_path, "cp1")
        assert kept.returncode != 0
        assert "its address is the endpoint of the cluster" in kept.stdout + kept.stderr
        gone = remove(cli, tmp_path, "cp3")
        assert gone.returncode == 0, gone.stdout[-3000:] + gone.stderr[-3000:]
        left = json.loads(cli.kubectl(NAME, "get", "nodes", "-ojson"))["items"]
        assert [node["metadata"]["name"] for node in left] == ["cp1", "cp2", "w1"]
    finally:
        cli.run("down", NAME, "--yes")
    assert wait_gone(NAME) == NOTHING
