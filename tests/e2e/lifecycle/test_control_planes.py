"""More than one control plane: the second joins with the certificates of the first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import NOTHING, wait_gone

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli

NAME = "planes"


@pytest.mark.nodes
@pytest.mark.nightly
def test_two_control_planes_and_a_worker(cli: Cli) -> None:
    up = ("up", "--name", NAME, "--control-planes", "2", "--workers", "1")
    cli.run(*up, "--provider", "nspawn")
    try:
        status = cli.json("status", NAME)
        assert status["health"] == "healthy"
        roles = {node["name"]: node["role"] for node in status["nodes"]}
        assert roles == {"cp1": "control-plane", "cp2": "control-plane", "w1": "worker"}
        whole = ("--for=condition=Ready", "pod", "-ltier=control-plane", "--timeout=120s")
        cli.kubectl(NAME, "-nkube-system", "wait", *whole)
        pods = json.loads(cli.kubectl(NAME, "-nkube-system", "get", "pods", "-ojson"))["items"]
        for part in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
            where = [p["spec"]["nodeName"] for p in pods if p["metadata"]["name"].startswith(part)]
            assert sorted(where) == ["cp1", "cp2"], part
        assert cli.json(*up)["changed"] is False
    finally:
        cli.run("down", NAME, "--yes")
    assert wait_gone(NAME) == NOTHING
