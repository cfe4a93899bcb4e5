"""What is opened to the nodes is closed again, whatever happens meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from ohmykube.errors import NotFoundError, ProviderError, UnreachableError
from ohmykube.kit import failures
from ohmykube.progress import StepEnded
from ohmykube.steps import serve as serving
from ohmykube.steps.nodes import Nodes
from ohmykube.steps.serve import serve
from ohmykube.testing.reporter import RecordingReporter
from tests import artifact_locks

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.kit.retry import Clock, Wait
    from ohmykube.steps.context import Context

LOCK = artifact_locks.of()


class FakeTunnel:
    """A tunnel that leads nowhere."""

    made: ClassVar[list[FakeTunnel]]
    refuses = ""
    stuck = ""

    def __init__(self, ssh_config: Path, node: str, port: int, log_file: Path) -> None:
        self.node = node
        self.log_name = log_file.name
        self.is_open = True
        self.made.append(self)

    def wait(self, clock: Clock, limit: Wait) -> None:
        if self.node == self.refuses:
            raise UnreachableError("refused")

    def close(self) -> None:
        self.is_open = False
        if self.node == self.stuck:
            raise ProviderError("the tunnel could not be closed")


@pytest.fixture
def tunnels(monkeypatch: pytest.MonkeyPatch) -> type[FakeTunnel]:
    class Tunnels(FakeTunnel):
        made: ClassVar[list[FakeTunnel]] = []

    monkeypatch.setattr(serving, "Tunnel", Tunnels)
    return Tunnels


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    return Nodes(machines={}, ssh_config=tmp_path / "ssh_config")


def test_every_node_has_a_tunnel_while_it_is_served(
    ctx: Context, nodes: Nodes, tunnels: type[FakeTunnel]
) -> None:
    with serve(ctx, nodes, LOCK) as served:
        assert [(one.node, one.log_name, one.is_open) for one in tunnels.made] == [
            (node, f"tunnel-{node}.log", True) for node in ("cp1", "w1", "w2")
        ]
        assert served.server.port > 0
        assert served.token.reveal() == serving.token(ctx.directory).reveal()
    assert not any(one.is_open for one in tunnels.made)
    reporter = ctx.services.reporter
    assert isinstance(reporter, RecordingReporter)
    (ended,) = reporter.of(StepEnded)
    assert ended.detail == "3 tunnels"


def test_a_tunnel_that_is_refused_leaves_none_open(
    ctx: Context, nodes: Nodes, tunnels: type[FakeTunnel]
) -> None:
    tunnels.refuses = "w1"
    with pytest.raises(UnreachableError), serve(ctx, nodes, LOCK):
        pytest.fail("served without a tunnel")
    assert len(tunnels.made) == 3
    assert not any(one.is_open for one in tunnels.made)


def test_what_fails_when_it_is_closed_is_told_with_the_first(
    ctx: Context, nodes: Nodes, tunnels: type[FakeTunnel]
) -> None:
    tunnels.stuck = "w2"

    def work() -> None:
        with serve(ctx, nodes, LOCK):
            raise NotFoundError("no such node")

    with pytest.raises(NotFoundError) as caught:
        work()
    assert [str(one) for one in failures.others(caught.value)] == ["the tunnel could not be closed"]
    assert not any(one.is_open for one in tunnels.made)
