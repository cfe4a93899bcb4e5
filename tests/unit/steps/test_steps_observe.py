"""What is found of a cluster: its machines, and what each node says of itself."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.errors import NodeError
from ohmykube.kit.secret import Secret
from ohmykube.kube import node_state
from ohmykube.model.cluster import Host, Network
from ohmykube.model.machine import MachineSpec, Resize
from ohmykube.model.node_state import ApiNode, AppliedObject, NodeState
from ohmykube.state import layout
from ohmykube.state.record import Record
from ohmykube.steps import observe
from ohmykube.testing.fake_provider import FakeProvider
from tests import node_answers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.model.cluster import Cluster
    from ohmykube.model.machine import Machine
    from ohmykube.steps.context import Context

NODES = ("cp1", "w1", "w2")


BEGUN = NodeState(record="r", begun=True)
JOINED = NodeState(record="r", begun=True, joined=True)


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an ssh to nodes that say what they are like; return where they are asked from."""
    node_answers.install(tmp_path / "bin", monkeypatch)
    return tmp_path


@pytest.fixture
def made(ctx: Context) -> Context:
    """Have all machines, and an ssh configuration with all but the last node."""
    for node in NODES:
        ctx.provider.create(MachineSpec(cluster="dev", node=node))
    text = "".join(f"Host {node}\nPort 22\n\n" for node in NODES[:-1])
    (ctx.directory / layout.SSH_CONFIG).write_text(text)
    return ctx


def recorded(ctx: Context, *done: str) -> Context:
    record = Record(
        id="1",
        name="dev",
        document=to_document(ctx.cluster),
        provider="fake",
        kubernetes_version=ctx.cluster.kubernetes_version,
        done=done,
    )
    described = dataclasses.replace(load.from_document(record.document), provider="fake")
    return dataclasses.replace(ctx, record=record, recorded=described)


def test_each_node_that_was_reached_before_is_asked_once(made: Context, answers: Path) -> None:
    made = recorded(made, "started", observe.CONFIGURED)
    node_answers.say(answers, "cp1", JOINED)
    node_answers.say(answers, "w1", BEGUN)
    found = observe.observe(made)
    assert (found.begun, found.joined) == ({"cp1", "w1"}, {"cp1"})
    assert found.answers == {"cp1": JOINED, "w1": BEGUN}
    assert not found.unfinished
    assert found.resizing.disk is Resize.ON_START
    assert node_answers.asked(answers) == {"cp1", "w1"}
    made.provider.delete("dev", "w1")
    assert set(observe.observe(made).machines) == {"cp1", "w2"}


def test_a_run_that_did_not_end_is_known_by_its_record(made: Context, answers: Path) -> None:
    assert observe.observe(made).unfinished
    assert observe.observe(recorded(made, observe.CONFIGURED, "started")).unfinished


def test_a_node_on_which_nothing_was_begun(made: Context, answers: Path) -> None:
    node_answers.say(answers, "cp1", NodeState())
    node_answers.say(answers, "w1", NodeState())
    found = observe.observe(made)
    assert (found.begun, found.joined) == (frozenset(), frozenset())


def test_a_node_that_does_not_answer_counts_as_joined(made: Context, answers: Path) -> None:
    node_answers.say(answers, "w1", NodeState())
    found = observe.observe(made)
    assert found.joined == {"cp1"}
    assert "Connection refused" in found.problems["cp1"]
    (answers / "answers" / "cp1").write_text("no JSON")
    assert "JSON" in observe.observe(made).problems["cp1"]
    made.provider.stop("dev", "w1")
    found = observe.observe(made)
    assert found.joined == {"cp1", "w1"}
    assert "w1" not in found.problems, "nobody expects an answer of it"


def test_before_any_node_was_reached_nobody_is_asked(made: Context, answers: Path) -> None:
    (made.directory / layout.SSH_CONFIG).unlink()
    found = observe.observe(made)
    assert found.unfinished
    assert set(found.machines) == set(NODES)
    assert (found.begun, found.joined) == (frozenset(), frozenset())
    assert node_answers.asked(answers) == set()


class ByHost(FakeProvider):
    """Finds a node only at the host that it was put on."""

    def list(self, cluster: str) -> Sequence[Machine]:
        """Return the machines of nodes whose address begins with 192."""
        wanted = self.context.cluster
        assert wanted is not None
        right = {n.name for n in wanted.nodes if n.host and n.host.address.startswith("192.")}
        return [machine for machine in super().list(cluster) if machine.node in right]


def test_a_node_with_another_host_is_looked_for_on_its_own(made: Context) -> None:
    def on(address: str, user: str) -> Cluster:
        nodes = tuple(
            dataclasses.replace(node, host=Host(address=address, user=user))
            for node in made.cluster.nodes
        )
        return dataclasses.replace(made.cluster, nodes=nodes)

    before, after = on("192.0.2.1", "root"), on("198.51.100.1", "me")
    provider = ByHost(dataclasses.replace(made.provider.context, cluster=after))
    moved = dataclasses.replace(made, cluster=after, recorded=before, provider=provider)
    assert set(observe.observe(moved).machines) == set(NODES)
    fresh = dataclasses.replace(moved, recorded=None)
    assert set(observe.observe(fresh).machines) == set()


def test_nodes_that_are_described_no_more_are_looked_for(made: Context) -> None:
    """A host is found through the description alone."""

    def on(names: Sequence[str]) -> Cluster:
        nodes = [node for node in made.cluster.nodes if node.name in names]
        host = Host(address="192.0.2.1")
        found = tuple(dataclasses.replace(node, host=host) for node in nodes)
        return dataclasses.replace(made.cluster, nodes=found)

    before, after = on(NODES), on(NODES[:-1])
    provider = ByHost(dataclasses.replace(made.provider.context, cluster=after))
    ctx = dataclasses.replace(made, cluster=after, recorded=before, provider=provider)
    assert set(observe.observe(ctx).machines) == set(NODES)


# -- what is asked ---------------------------------------------------------------------------------


def test_the_question_and_the_answer_fit(made: Context) -> None:
    state = NodeState(
        record="r",
        begun=True,
        differs=("a is gone",),
        nodes=(ApiNode(name="w1", labels={"a": "b"}, taints=frozenset({"k=:NoExecute"})),),
        objects={"ConfigMap n/c": AppliedObject(applied_at=5.0, problem="gone")},
        services=({"kind": "Service"},),
        dns_answers=True,
    )
    text = json.dumps(node_answers.document(state))
    assert node_state.parse("cp1", text) == state
    admin = Secret('clusters: [{cluster: {server: "https://10.0.0.1:6443"}}]')
    document = node_answers.document(dataclasses.replace(state, admin=admin))
    assert node_state.parse("cp1", json.dumps(document)).endpoint == "10.0.0.1:6443"
    for wrong in ("", "[]", "{}", text.replace('"differs"', '"other"')):
        with pytest.raises(NodeError) as error:
            node_state.parse("cp1", wrong)
        assert error.value.id == "OMK-N-280"


def test_what_a_node_is_told_about_its_cluster() -> None:
    def options(network: Network, slowdown: int = 1) -> dict[str, object]:
        *program, text = node_state.argv(network, slowdown=slowdown)
        assert program == ["python3", "-I", "-S", "-"]
        return dict(json.loads(text))

    name = "kubernetes.default.svc.k.test"
    network = Network(service_cidr="10.97.0.0/16", dns_domain="k.test")
    asked = {"seconds": 30, "differences": True, "dns": ["10.97.0.10", name]}
    asked["overlays"] = ["flannel."]
    assert options(network, 6) == asked
    network = Network(pod_cidr="fd00:7::/56", service_cidr="fd00:97::/108")
    assert options(network)["dns"] == ["fd00:97::a", "kubernetes.default.svc.cluster.local"]
    assert options(network)["overlays"] == ["flannel-v6."]
    both = Network(pod_cidr="fd00:7::/56,10.9.0.0/16", service_cidr="fd00:97::/108,10.97.0.0/16")
    assert options(both)["dns"] == ["fd00:97::a", "kubernetes.default.svc.cluster.local"]
    assert options(both)["overlays"] == ["flannel-v6.", "flannel."]
    # Without a pod network there is no DNS to ask.
    assert options(Network(cni="none")) == {"seconds": 5, "differences": True}
    assert "class Look" in node_state.program()
