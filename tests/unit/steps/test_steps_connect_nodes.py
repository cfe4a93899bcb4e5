"""The ssh configuration has every machine of the cluster; only described nodes are waited for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ohmykube.model.machine import MachineSpec
from ohmykube.progress import StepEnded
from ohmykube.state import layout
from ohmykube.steps.connect_nodes import connect_nodes
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.steps.context import Context


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an ssh that reaches every node, and the file with the nodes it was called for."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "asked"


def connected(ctx: Context) -> str:
    """Connect to all machines there are; return what is told of it."""
    machines = {machine.node: machine for machine in ctx.provider.list("dev")}
    nodes = connect_nodes(ctx, machines)
    assert nodes.machines == machines
    assert nodes.ssh_config == ctx.directory / layout.SSH_CONFIG
    reporter = ctx.services.reporter
    assert isinstance(reporter, RecordingReporter)
    (ended,) = reporter.of(StepEnded)
    return ended.detail


def test_a_node_that_is_left_alone_stays_within_reach(ctx: Context, asked: Path) -> None:
    for node in ("cp1", "w1", "w2", "w9"):
        ctx.provider.create(MachineSpec(cluster="dev", node=node))
    assert connected(ctx) == "3 answer"
    text = (ctx.directory / layout.SSH_CONFIG).read_text()
    assert all(f"Host {node}\n" in text for node in ("cp1", "w1", "w2", "w9"))
    words = asked.read_text().split()
    assert {node for node in ("cp1", "w1", "w2", "w9") if node in words} == {"cp1", "w1", "w2"}


def test_a_machine_that_is_left_alone_may_be_stopped(ctx: Context, asked: Path) -> None:
    for node in ("cp1", "w1", "w2", "w9"):
        ctx.provider.create(MachineSpec(cluster="dev", node=node))
    ctx.provider.stop("dev", "w9")
    assert connected(ctx) == "3 answer"
    assert "w9" not in (ctx.directory / layout.SSH_CONFIG).read_text()
    assert asked.exists()
