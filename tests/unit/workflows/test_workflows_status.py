"""What ``status`` says of each node, by what machines, nodes and the API say."""

from __future__ import annotations

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.kit import paths
from ohmykube.model.node_state import ApiNode, NodeState
from ohmykube.steps.context import Services
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import session
from ohmykube.workflows.status import status
from tests import node_answers
from tests.unit.workflows.begun_run import begin, end

KNOWN = (ApiNode(name="cp1", version="v1.36.3"), ApiNode(name="w1", version="v1.36.3"))
PLANE, WORKER = NodeState(nodes=KNOWN, dns_answers=True), NodeState(dns_answers=True)
UNREADY = ApiNode(name="w1", ready=False, reason="no network", version="v1.36.3")
DEAF = "the cluster's DNS does not answer it"
REFUSED = "cp1: ssh: connect to host cp1: Connection refused"

pytestmark = pytest.mark.usefixtures("world")


@pytest.fixture
def services() -> Services:
    """Give a cluster of 1 + 1 that a whole `up` has made."""
    made = Services(paths=paths.from_environment(), reporter=RecordingReporter())
    wanted = load.from_overrides(Overrides(name="dev", provider="fake", workers=1))
    with session.working(made, wanted) as ctx:
        begin(ctx)
    with session.working(made, wanted) as ctx:
        end(ctx)
    return made


@pytest.mark.parametrize(
    ("plane", "worker", "health", "details"),
    [
        (PLANE, WORKER, "healthy", ["", ""]),
        (PLANE, NodeState(), "degraded", ["", DEAF]),
        (NodeState(nodes=KNOWN), WORKER, "degraded", [DEAF, ""]),
        (
            NodeState(nodes=(KNOWN[0], UNREADY), dns_answers=True),
            WORKER,
            "degraded",
            ["", "no network"],
        ),
        (NodeState(nodes=KNOWN[:1], dns_answers=True), WORKER, "degraded", ["", "not joined"]),
        (NodeState(api_problem="it starts"), WORKER, "unreachable", ["cp1: it starts"] * 2),
        (None, WORKER, "unreachable", [REFUSED] * 2),
        (NodeState(), None, "unreachable", ["not joined"] * 2),
    ],
)
def test_each_node_has_its_own_reason(
    services: Services,
    plane: NodeState | None,
    worker: NodeState | None,
    health: str,
    details: list[str],
) -> None:
    directory = services.state.directory("dev")
    for name, state in (("cp1", plane), ("w1", worker)):
        node_answers.refuse(directory, name)
        if state is not None:
            node_answers.say(directory, name, state)
    found = status(services, "dev")
    assert (found.health, [node.detail for node in found.nodes]) == (health, details)
