"""`up` is killed at random moments, ten times; each time the next one ends with a healthy cluster.

The gate kills one, in test_two_clusters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.steps.templates import build_name
from tests.e2e import killing
from tests.e2e.conftest import NOTHING, wait_gone
from tests.e2e.killing import SEED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Cli

WAYS = ("never", "build")
MOMENTS = killing.moments(SEED + 1, 10, 45)


@pytest.mark.nodes
@pytest.mark.nightly
@pytest.mark.parametrize("number", range(10))
def test_kill_and_resume_ten_times(cli: Cli, tmp_path: Path, number: int) -> None:
    """A cluster for each moment: a killed one says nothing about the next."""
    name, template, after = f"kill{number}", WAYS[number % 2], MOMENTS[number]
    up = ("up", "--name", name, "--workers", "1", "--provider", "nspawn", "--template", template)
    if template == "build":  # each time anew, so that builds are killed too
        cli.run("template", "prune", "--keep", "0", "--yes", "--provider", "nspawn")
    alive = killing.kill(cli.start(*up, log=tmp_path / "up.log"), name, after)
    assert alive == [], f"seed {SEED}: alive {after:.1f} s after the kill"
    cli.run(*up)
    status = cli.json("status", name)
    assert status["health"] == "healthy", f"seed {SEED}, killed after {after:.1f} s: {status}"
    cli.run("down", name, "--yes")
    assert wait_gone(name) == NOTHING
    building = build_name(cli.home / "data")
    assert wait_gone(building) == NOTHING, f"seed {SEED}: a build left this"
    stored = cli.home / "data" / "nspawn-templates"
    assert not list(stored.glob("tmp-*")), f"seed {SEED}: a build left this"
