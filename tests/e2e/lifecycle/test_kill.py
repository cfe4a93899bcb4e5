"""`up` is killed at random moments; each time the next `up` ends with a healthy cluster."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from ohmykube.steps.templates import build_name
from tests.e2e.conftest import NOTHING, processes, wait_gone

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli

SEED = int(os.environ.get("OHMYKUBE_SEED", "20261123"))


WAYS = ("never", "build")


def _ghosts(cli: Cli, name: str) -> list[str]:
    """Return ansible and ssh processes of the killed run, given the moment that signals take."""
    end = time.monotonic() + 5
    while True:
        found = processes(f"/clusters/{name}/runs/")
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def _kill_and_resume(cli: Cli, name: str, after: float, template: str) -> None:
    up = ("up", "--name", name, "--workers", "1", "--provider", "nspawn", "--template", template)
    if template == "build":  # each time anew, so that builds are killed too
        cli.run("template", "prune", "--keep", "0", "--yes", "--provider", "nspawn")
    run = cli.start(*up)
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(after)  # a quick machine may be done by then
    run.kill()
    run.wait()
    assert _ghosts(cli, name) == [], f"seed {SEED}: alive {after:.1f} s after the kill"
    cli.run(*up)
    status = cli.json("status", name)
    assert status["health"] == "healthy", f"seed {SEED}, killed after {after:.1f} s: {status}"
    cli.run("down", name, "--yes")
    assert wait_gone(name) == NOTHING
    building = build_name(cli.home / "data")
    assert wait_gone(building) == NOTHING, f"seed {SEED}: a build left this"
    stored = cli.home / "data" / "nspawn-templates"
    assert not list(stored.glob("tmp-*")), f"seed {SEED}: a build left this"


@pytest.mark.nodes
@pytest.mark.parametrize("number", range(2))
def test_kill_and_resume(cli: Cli, number: int) -> None:
    moments = random.Random(SEED)
    after = [moments.uniform(1, 45) for _ in range(number + 1)][-1]
    _kill_and_resume(cli, f"kill{number}", after, WAYS[number % 2])


@pytest.mark.nodes
@pytest.mark.nightly
@pytest.mark.parametrize("number", range(10))
def test_kill_and_resume_ten_times(cli: Cli, number: int) -> None:
    moments = random.Random(SEED + 1)
    after = [moments.uniform(1, 45) for _ in range(number + 1)][-1]
    _kill_and_resume(cli, f"kill{number}", after, WAYS[number % 2])
