"""More than one control plane: none is the first, and any may be lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.bare import nspawn
from tests.e2e.conftest import NOTHING, wait_gone

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli

NAME = "planes"
UP = ("up", "--name", NAME, "--control-planes", "3", "--workers", "1")
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


@pytest.mark.nodes
@pytest.mark.nightly
def test_three_control_planes_of_which_the_first_is_lost(cli: Cli) -> None:
    """Its address is the endpoint of the cluster; the others live on, and it comes back as new."""
    cli.run(*UP, "--provider", "nspawn")
    try:
        check_whole(cli)
        assert cli.json(*UP)["changed"] is False
        before = cli.on(NAME, "cp2", "cat", "/etc/kubernetes/pki/ca.crt")
        nspawn(cli.home, cli.cache).delete(NAME, "cp1")
        nodes = {node["name"]: node for node in cli.json("status", NAME)["nodes"]}
        assert nodes["cp1"]["machine"] == "missing"
        assert nodes["cp2"]["ready"], "another control plane was asked"
        cli.run(*UP)
        check_whole(cli)
        assert cli.on(NAME, "cp1", "cat", "/etc/kubernetes/pki/ca.crt") == before
    finally:
        cli.run("down", NAME, "--yes")
    assert wait_gone(NAME) == NOTHING
