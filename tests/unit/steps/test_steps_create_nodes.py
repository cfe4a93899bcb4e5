"""What is told while machines are made: of each what became of it, and of others nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import ProviderError
from ohmykube.kit import paths
from ohmykube.model.change import Plan, ReconfigureNode
from ohmykube.planning.observation import Observed
from ohmykube.progress import NodeProgress, Status
from ohmykube.providers.base import ProviderContext
from ohmykube.steps.context import Context, Services
from ohmykube.steps.create_nodes import create_nodes
from ohmykube.testing.fake_provider import FakeProvider, inject
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path

NODES = ("cp1", "w1", "w2")
STARTED, RESIZED = ["starting", "started"], ["resizing", "resized"]


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    """Give a cluster of 1 + 2 whose machines run, and of which nothing was told yet."""
    services = Services(paths=paths.from_environment(), reporter=RecordingReporter())
    wanted = load.from_overrides(Overrides(name="dev", provider="fake", workers=2))
    context = ProviderContext(paths=services.paths, reporter=services.reporter, cluster=wanted)
    made = Context(
        services=services,
        cluster=wanted,
        provider=FakeProvider(context),
        directory=tmp_path,
        run_directory=tmp_path,
    )
    create_nodes(made, Observed(), Plan(), {})
    assert told(made) == dict.fromkeys(NODES, STARTED)
    return replace(made, services=replace(services, reporter=RecordingReporter()))


def told(ctx: Context) -> dict[str, list[str]]:
    reporter = ctx.services.reporter
    assert isinstance(reporter, RecordingReporter)
    found: dict[str, list[str]] = {}
    for event in reporter.of(NodeProgress):
        found.setdefault(event.node, []).append(event.activity)
    return found


def again(ctx: Context, plan: Plan) -> dict[str, list[str]]:
    machines = {machine.node: machine for machine in ctx.provider.list("dev")}
    create_nodes(ctx, Observed(machines=machines, unfinished=True), plan, {})
    return told(ctx)


def resize(*nodes: str) -> Plan:
    field = "spec.nodes.workers.cpus"
    return Plan(
        changes=tuple(ReconfigureNode(node=one, field=field, old=1, new=2) for one in nodes)
    )


@pytest.mark.parametrize("stopped", [(), ("w1",), ("cp1", "w2"), NODES])
@pytest.mark.parametrize("resized", [(), ("w1",), ("w1", "w2")])
def test_only_what_happens_to_a_machine_is_told(
    ctx: Context, stopped: tuple[str, ...], resized: tuple[str, ...]
) -> None:
    """A machine that ran is not said to be started, nor one that keeps its size to be resized."""
    for node in stopped:
        ctx.provider.stop("dev", node)
    expected = dict.fromkeys(resized, RESIZED) | dict.fromkeys(stopped, STARTED)
    assert again(ctx, resize(*resized)) == expected


def test_a_machine_that_is_gone_is_started(ctx: Context) -> None:
    ctx.provider.delete("dev", "w2")
    assert again(ctx, Plan()) == {"w2": STARTED}


def test_of_a_machine_that_ran_a_failure_is_told(ctx: Context) -> None:
    inject(ctx.services.paths, "create")
    with pytest.raises(ProviderError):
        again(ctx, Plan())
    (event,) = ctx.services.reporter.of(NodeProgress)
    assert (event.activity, event.status) == ("checking its machine", Status.FAILED)
