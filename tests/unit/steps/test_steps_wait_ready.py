"""A cluster is healthy when each node is Ready and the cluster's DNS answers each."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ClusterError
from ohmykube.model.cluster import Network
from ohmykube.model.node_state import ApiNode, NodeState
from ohmykube.progress import NodeProgress, Status, StepEnded
from ohmykube.steps.wait_ready import lacking, wait_ready
from ohmykube.testing.reporter import RecordingReporter
from tests import node_answers
from tests.fake_clock import FakeClock
from tests.unit.steps.made_run import cluster_of, made_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes

CLUSTER = cluster_of(["cp1", "cp2"], ["w1"])
NAMES = tuple(node.name for node in CLUSTER.nodes)
KNOWN = tuple(ApiNode(name=name) for name in NAMES)
HEALTHY = {
    "cp1": NodeState(nodes=KNOWN, dns_answers=True),
    "cp2": NodeState(nodes=KNOWN, dns_answers=True),
    "w1": NodeState(dns_answers=True),
}
SILENT = "the cluster's DNS does not answer it"


def not_ready(name: str, why: str) -> tuple[ApiNode, ...]:
    return tuple(
        replace(one, ready=False, reason=why) if one.name == name else one for one in KNOWN
    )


@pytest.mark.parametrize(
    "deaf", [set(some) for n in range(4) for some in itertools.combinations(NAMES, n)]
)
def test_each_node_is_asked_whether_dns_answers_it(deaf: set[str]) -> None:
    """Pods reach each other only when all nodes say so, whatever a control plane says alone."""
    answers = {n: replace(one, dns_answers=n not in deaf) for n, one in HEALTHY.items()}
    assert lacking(CLUSTER, answers) == dict.fromkeys(sorted(deaf), SILENT)


@pytest.mark.parametrize(
    ("reached", "healthy"),
    [
        ({"10.244.9.0", "fd00:10:244:9::"}, True),
        ({"10.244.9.0"}, False),
        ({"fd00:10:244:9::"}, False),
        (set(), False),
    ],
)
def test_pods_of_another_node_are_reached_in_each_family(reached: set[str], healthy: bool) -> None:
    network = "10.244.9.0/24,fd00:10:244:9::/64"
    known = tuple(replace(one, pod_network=network if one.name == "w1" else "") for one in KNOWN)
    answers = {
        name: replace(one, nodes=one.nodes and known, reached=frozenset(reached))
        for name, one in HEALTHY.items()
    }
    far = {} if healthy else dict.fromkeys(set(NAMES) - {"w1"}, "it does not reach the pods of w1")
    assert lacking(CLUSTER, answers) == far


PAIRS = list(itertools.permutations(NAMES, 2))
NETWORKS = {name: f"10.244.{number}.0/24" for number, name in enumerate(NAMES)}


def told(cut: Sequence[tuple[str, str]]) -> dict[str, NodeState]:
    """Return what nodes say, none of which reaches those that it is cut from."""
    known = tuple(replace(one, pod_network=NETWORKS[one.name]) for one in KNOWN)
    return {
        name: replace(
            answer,
            nodes=answer.nodes and known,
            reached=frozenset(
                NETWORKS[other].removesuffix("/24")
                for other in NAMES
                if other != name and (name, other) not in cut
            ),
        )
        for name, answer in HEALTHY.items()
    }


@pytest.mark.parametrize(
    "cut", [(), *itertools.combinations(PAIRS, 1), *itertools.combinations(PAIRS, 2), tuple(PAIRS)]
)
def test_pods_of_each_pair_of_nodes_reach_each_other(cut: Sequence[tuple[str, str]]) -> None:
    """A cluster is healthy when every node's packets reach the pods of every other node."""
    expected: dict[str, str] = {}
    for name in NAMES:
        far = [other for here, other in cut if here == name]
        if far:
            expected[name] = f"it does not reach the pods of {', '.join(sorted(far))}"
    assert lacking(CLUSTER, told(cut)) == expected
    others = [Network(cni="none"), Network(cni="calico"), Network(flannel_backend="host-gw")]
    assert all(lacking(replace(CLUSTER, network=one), told(cut)) == {} for one in others)


def test_a_node_that_is_not_ready_is_no_peer() -> None:
    """What one node lacks is told once, and not by all the others."""
    answers = told([("cp1", "w1"), ("cp2", "w1")])
    nodes = tuple(
        replace(one, ready=one.name != "w1", reason="down" if one.name == "w1" else "")
        for one in answers["cp1"].nodes or ()
    )
    answers = {**answers, "cp1": replace(answers["cp1"], nodes=nodes)}
    assert lacking(CLUSTER, answers) == {"w1": "down"}


@pytest.mark.parametrize("name", NAMES)
def test_a_node_is_as_the_api_has_it(name: str) -> None:
    said = replace(HEALTHY["cp1"], nodes=not_ready(name, "no network"))
    assert lacking(CLUSTER, {**HEALTHY, "cp1": said}) == {name: "no network"}
    rest = tuple(one for one in KNOWN if one.name != name)
    assert lacking(CLUSTER, {**HEALTHY, "cp1": replace(said, nodes=rest)}) == {
        name: "has not joined"
    }


def test_without_a_pod_network_there_is_no_dns() -> None:
    cluster = replace(CLUSTER, network=Network(cni="none"))
    assert lacking(cluster, {"cp1": NodeState(nodes=KNOWN)}) == {}


def one_by_one(*acts: Callable[[], object]) -> Callable[[], object]:
    """Return what does one thing at each call, and then nothing more."""
    left = list(acts)
    return lambda: left.pop(0)() if left else None


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(
    clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Context, Nodes]:
    """Give a healthy cluster, whose nodes answer by ssh."""
    node_answers.install(tmp_path / "bin", monkeypatch)
    for name, state in HEALTHY.items():
        node_answers.say(tmp_path, name, state)
    return made_run(tmp_path, CLUSTER, clock=clock)


def ended(ctx: Context) -> StepEnded:
    assert isinstance(ctx.services.reporter, RecordingReporter)
    (found,) = ctx.services.reporter.of(StepEnded)
    return found


def test_a_healthy_cluster_is_asked_once(world: tuple[Context, Nodes], clock: FakeClock) -> None:
    ctx, nodes = world
    assert wait_ready(ctx, nodes, None, usual=50) == HEALTHY
    assert clock.time == 0
    assert ended(ctx).detail == "3 Ready, DNS answers"
    assert sorted((ctx.directory / "asked").read_text().split()) == sorted(NAMES)


def test_only_who_was_not_healthy_is_asked_again(
    world: tuple[Context, Nodes], clock: FakeClock
) -> None:
    ctx, nodes = world
    node_answers.say(ctx.directory, "w1", NodeState())
    asked = ctx.directory / "asked"
    clock.meanwhile = one_by_one(
        asked.unlink,
        lambda: node_answers.say(ctx.directory, "w1", HEALTHY["w1"]),
    )
    wait_ready(ctx, nodes, None, usual=50)
    assert sorted(asked.read_text().split()) == ["cp1", "cp1", "w1", "w1"]
    reporter = ctx.services.reporter
    assert isinstance(reporter, RecordingReporter)
    told = [one.activity for one in reporter.of(NodeProgress) if one.node == "w1"]
    assert told == ["not Ready yet", "not Ready yet", "Ready"]
    ready = [one.node for one in reporter.of(NodeProgress) if one.status is Status.OK]
    assert ready == ["cp1", "cp2", "w1"]


def test_another_control_plane_is_asked_when_one_answers_no_more(
    world: tuple[Context, Nodes], clock: FakeClock
) -> None:
    ctx, nodes = world
    node_answers.say(ctx.directory, "w1", NodeState())

    def fail() -> None:
        node_answers.say(ctx.directory, "cp1", NodeState(api_problem="starting", dns_answers=True))
        node_answers.say(ctx.directory, "w1", HEALTHY["w1"])

    clock.meanwhile = one_by_one(fail)
    answers = wait_ready(ctx, nodes, None, usual=50)
    assert [name for name, one in answers.items() if one.nodes is not None] == ["cp2"]


@pytest.mark.parametrize(
    ("name", "said", "told"),
    [
        ("w1", NodeState(), SILENT),
        ("w1", None, "ssh: connect to host w1: Connection refused"),
        ("cp1", NodeState(nodes=not_ready("w1", "no network"), dns_answers=True), "no network"),
        ("w1", NodeState(dns_answers=True, pulling=True), "its images are still pulled"),
    ],
)
def test_what_does_not_come_is_named_in_the_end(
    world: tuple[Context, Nodes], clock: FakeClock, name: str, said: NodeState | None, told: str
) -> None:
    ctx, nodes = world
    if said is None:
        node_answers.refuse(ctx.directory, name)
    else:
        node_answers.say(ctx.directory, name, said)
    with pytest.raises(ClusterError, match="not healthy after 50 s") as caught:
        wait_ready(ctx, nodes, None, usual=50)
    assert caught.value.why == f"w1: {told}"
    assert clock.time == pytest.approx(50)
    assert ended(ctx).status is Status.FAILED


def test_an_api_that_does_not_answer_is_named_with_its_reason(
    world: tuple[Context, Nodes],
) -> None:
    ctx, nodes = world
    for name in ("cp1", "cp2"):
        node_answers.say(ctx.directory, name, NodeState(api_problem=f"{name} is starting"))
    with pytest.raises(ClusterError) as caught:
        wait_ready(ctx, nodes, 7, usual=50)
    assert (caught.value.why or "").splitlines() == [
        "cp1: its API server: cp1 is starting",
        "cp2: its API server: cp2 is starting",
        "w1: the API server does not answer",
    ]


def test_what_a_ready_node_is_short_of_is_told_with_the_rest(world: tuple[Context, Nodes]) -> None:
    ctx, nodes = world
    full = tuple(
        replace(one, pressure="DiskPressure: full") if one.name == "cp2" else one
        for one in not_ready("w1", "no network")
    )
    node_answers.say(ctx.directory, "cp1", NodeState(nodes=full, dns_answers=True))
    with pytest.raises(ClusterError) as caught:
        wait_ready(ctx, nodes, 7, usual=50)
    assert (caught.value.why or "").splitlines() == ["cp2: DiskPressure: full", "w1: no network"]


@pytest.mark.parametrize("cni", ["flannel", "none"])
def test_the_mirrors_stay_until_no_node_pulls_any_more(
    world: tuple[Context, Nodes], clock: FakeClock, cni: str
) -> None:
    """Also where the kubelets have no need of the images that are missing."""
    ctx, nodes = world
    ctx = replace(ctx, cluster=replace(CLUSTER, network=Network(cni=cni)))
    node_answers.say(ctx.directory, "w1", replace(HEALTHY["w1"], pulling=True))
    with pytest.raises(ClusterError) as caught:
        wait_ready(ctx, nodes, 7, usual=50)
    assert caught.value.why == "w1: its images are still pulled"

    clock.meanwhile = one_by_one(
        lambda: node_answers.say(ctx.directory, "w1", HEALTHY["w1"]),
    )
    assert wait_ready(ctx, nodes, 7, usual=50)["w1"] == HEALTHY["w1"]


def test_a_cluster_without_pod_network_is_looked_at_once(
    world: tuple[Context, Nodes], clock: FakeClock
) -> None:
    ctx, nodes = world
    cluster = replace(CLUSTER, network=Network(cni="none"))
    node_answers.say(ctx.directory, "cp1", NodeState(nodes=not_ready("w1", "no network")))
    wait_ready(replace(ctx, cluster=cluster), nodes, None, usual=50)
    assert clock.time == 0
    assert "no pod network was asked for" in ended(ctx).detail
