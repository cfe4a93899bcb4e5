"""What ``status`` says of each node, by what machines, nodes and the API say."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import OhmykubeError, UnreachableError
from ohmykube.kit import files, paths
from ohmykube.model.node_state import ApiNode, NodeState
from ohmykube.progress import Message
from ohmykube.state import layout
from ohmykube.steps.context import Services
from ohmykube.testing.fake_provider import FakeProvider, inject
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import access, copy, images, session
from ohmykube.workflows.status import status
from tests import node_answers
from tests.unit.workflows.begun_run import begin, end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


def _fake(services: Services) -> FakeProvider:
    _, cluster = session.recorded(services, "dev")
    provider = session.looking(services, cluster).provider
    assert isinstance(provider, FakeProvider)
    return provider


DOORS: dict[str, Callable[[Services], object]] = {
    "status": lambda services: status(services, "dev"),
    "kubeconfig": lambda services: access.kubeconfig(services, "dev"),
    "shell": lambda services: access.shell_argv(services, "dev", "w1", ()),
    "cp": lambda services: copy.copy(services, "dev", copy.place("w1:/file"), copy.place("file")),
}
"""What looks at a cluster or leads into it."""


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("broken", [False, True])
def test_every_door_into_a_cluster_brings_back_its_helpers(
    services: Services, door: str, *, broken: bool
) -> None:
    """And works where they cannot be: that is a warning."""
    files.write(services.state.directory("dev") / layout.KUBECONFIG, "")
    provider = _fake(services)
    provider.kill_helpers("dev")
    if broken:
        inject(services.paths, "restore_helpers", call=1)
    with contextlib.suppress(OhmykubeError) if door == "cp" else contextlib.nullcontext():
        DOORS[door](services)
    assert provider.has_helpers("dev") is not broken
    assert isinstance(services.reporter, RecordingReporter)
    warned = [message.text for message in services.reporter.of(Message)]
    assert any("restore_helpers failed" in text for text in warned) is broken


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


POWERED_OFF = "stopped"
GONE = "missing"
BROKEN = "broken"
HALTED = [
    ({"cp1": POWERED_OFF, "w1": POWERED_OFF}, "stopped", ["", ""]),
    ({"cp1": GONE, "w1": POWERED_OFF}, "stopped", ["", ""]),
    ({"cp1": GONE, "w1": GONE}, "unreachable", ["", ""]),
    ({"cp1": BROKEN, "w1": BROKEN}, "unreachable", ["", ""]),
    ({"cp1": POWERED_OFF, "w1": BROKEN}, "unreachable", ["", ""]),
    ({"cp1": POWERED_OFF}, "unreachable", ["", "cp1 is stopped"]),
    ({"cp1": GONE}, "unreachable", ["", "cp1 is missing"]),
    ({"w1": POWERED_OFF}, "degraded", ["", ""]),
    ({"w1": GONE}, "degraded", ["", ""]),
]


def halt(services: Services, halted: dict[str, str]) -> None:
    """Leave machines that do not run, in the states that are named."""
    provider = _fake(services)
    for node, state in halted.items():
        if state == BROKEN:
            provider.break_machine("dev", node)
        else:
            {POWERED_OFF: provider.stop, GONE: provider.delete}[state]("dev", node)


@pytest.mark.parametrize(("halted", "health", "details"), HALTED)
def test_of_a_machine_that_does_not_run_its_state_is_the_whole_reason(
    services: Services, halted: dict[str, str], health: str, details: list[str]
) -> None:
    halt(services, halted)
    found = status(services, "dev")
    assert (found.health, [node.detail for node in found.nodes]) == (health, details)
    assert {n.name: n.machine for n in found.nodes if n.machine != "running"} == halted


@pytest.mark.parametrize(
    ("state", "try_this"),
    [(POWERED_OFF, "ohmykube start dev"), (GONE, "ohmykube up --name dev")],
)
@pytest.mark.parametrize("command", ["shell", "run", "cp to", "cp from", "image list"])
def test_what_wants_a_node_says_that_its_machine_does_not_run(
    services: Services, tmp_path: Path, command: str, state: str, try_this: str
) -> None:
    """Every command that goes to a node looks at its machine before ssh does."""
    halt(services, {"w1": state})
    here, there = copy.place(str(tmp_path / "file")), copy.place("w1:/root/file")
    (tmp_path / "file").touch()
    doing = {
        "shell": lambda: access.shell_argv(services, "dev", "w1", ()),
        "run": lambda: access.shell_argv(services, "dev", "w1", ("uptime",)),
        "cp to": lambda: copy.copy(services, "dev", here, there),
        "cp from": lambda: copy.copy(services, "dev", there, here),
        "image list": lambda: images.list_images(services, "dev", ["w1"]),
    }
    with pytest.raises(UnreachableError, match=f"node w1 is {state}") as error:
        doing[command]()
    assert error.value.hint == try_this
