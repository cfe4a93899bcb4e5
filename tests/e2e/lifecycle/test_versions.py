"""Every supported minor of Kubernetes comes up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import NOTHING, wait_gone

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli


@pytest.mark.nodes
@pytest.mark.nightly
@pytest.mark.parametrize("version", ["1.35.4", "1.37.2"])
def test_version_comes_up(cli: Cli, version: str) -> None:
    name = "v" + version.replace(".", "-")
    cli.run("up", "--name", name, "--workers", "1", "--kubernetes", version, timeout=5400)
    nodes = json.loads(cli.kubectl(name, "get", "nodes", "-ojson"))["items"]
    assert {n["status"]["nodeInfo"]["kubeletVersion"] for n in nodes} == {f"v{version}"}
    assert cli.json("status", name)["health"] == "healthy"
    cli.run("down", name, "--yes")
    assert wait_gone(name) == NOTHING
