"""Two clusters at once, one's name a prefix of the other's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import NOTHING, UP_SECONDS, traces, wait_gone

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli

pytestmark = pytest.mark.nodes


def test_two_at_once_do_not_meet_and_down_takes_exactly_one(cli: Cli) -> None:
    names = ("two", "two-more")
    for name in names:
        assert traces(name) == NOTHING
    runs = [cli.start("up", "--name", n, "--workers", "0", "--provider", "nspawn") for n in names]
    assert [run.wait(UP_SECONDS) for run in runs] == [0, 0]
    servers = set()
    for name in names:
        assert cli.json("status", name)["health"] == "healthy"
        servers.add(cli.kubectl(name, "config", "view", "-ojsonpath={.clusters[0].cluster.server}"))
    assert len(servers) == 2

    cli.run("down", "two", "--yes")
    assert wait_gone("two") == NOTHING
    assert cli.json("status", "two-more")["health"] == "healthy"
    assert cli.json("down", "two", "--yes")["existed"] is False
    cli.run("down", "two-more", "--yes")
    assert wait_gone("two-more") == NOTHING
