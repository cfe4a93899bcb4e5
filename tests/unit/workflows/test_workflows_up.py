"""A whole `up` over the fake provider, and one that grows: who is touched.

What needs real nodes is played: ssh is a small program, a playbook ends at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import yaml

from ohmykube.ansible import launch
from ohmykube.ansible.events import HostStats
from ohmykube.ansible.inventory import INVENTORY_FILE
from ohmykube.ansible.outcome import Outcome, PlaybookStatus, TaskFailure
from ohmykube.cache import resolve
from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.errors import NodeError, ProviderError
from ohmykube.kit import files, paths, remote_command
from ohmykube.kit.secret import Secret
from ohmykube.model import change
from ohmykube.model.cluster import Role
from ohmykube.model.node_state import ApiNode, NodeState
from ohmykube.progress import NodeProgress, Status, StepEnded
from ohmykube.providers.base import Capabilities
from ohmykube.steps import serve
from ohmykube.steps.context import Services
from ohmykube.steps.run_playbook import CLUSTER_RESET, CLUSTER_UP, NODE_REMOVE
from ohmykube.testing.fake_provider import FakeProvider, inject
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import session
from ohmykube.workflows import up as workflow
from ohmykube.workflows.down import down
from ohmykube.workflows.up import up
from ohmykube.workflows.up_values import UpOptions, UpResult
from tests import artifact_locks, node_answers

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.ansible.launch import PlaybookRun
    from ohmykube.kit.retry import Clock, Wait
    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.progress import Reporter

ADMIN = "{clusters: [{name: k, cluster: {server: x}}], users: [{name: a, user: {}}]}"
SSH = """\
#!/bin/sh
echo '{begin}'
case "$*" in
*' python3 -I '*) cat >/dev/null; exec cat "{root}/states/$3" ;;
esac
echo "$@" >>{root}/asked
case "$*" in
*' cat '*) echo '{admin}' ;;
esac
"""
LOCK = artifact_locks.of_packages()
# Resolving is played too, and says nothing. Two are done side by side: see `in_order`.
STEPS = [
    "preflight", "plan", "prepare-nodes", "templates", "create-nodes", "connect-nodes",
    "open-outside", "serve", "write-inventory", "cluster-up", "fetch-kubeconfig", "wait-ready",
    "expose-services",
]  # fmt: skip


def in_order(steps: list[str]) -> list[str]:
    """Return the steps, those that are done side by side by name where they are side by side."""
    pair = ["connect-nodes", "open-outside"]
    return [pair.pop(0) if step in ("connect-nodes", "open-outside") else step for step in steps]


class FakeTunnel:
    """A tunnel that leads nowhere."""

    nodes: ClassVar[list[str]] = []

    def __init__(self, ssh_config: Path, node: str, port: int, log_file: Path) -> None:
        self.nodes.append(node)

    def wait(self, clock: Clock, limit: Wait) -> None:
        """It is open."""

    def close(self) -> None:
        """It is closed."""


class Place:
    """A host with a cluster, and what was done with its nodes."""

    def __init__(
        self, root: Path, patch: pytest.MonkeyPatch, lock: ArtifactLock | None = LOCK
    ) -> None:
        """``lock``: what artifacts are resolved to; None for what is really in the cache."""
        self.root = root
        self.plays: list[PlaybookRun] = []
        self.hosts: set[str] = set()
        """Of the last play's inventory."""
        self.removed: list[dict[str, Any]] = []
        self.fails = False
        self.joined: set[str] = set()
        self.reporter = RecordingReporter()
        self._ssh(patch)
        patch.setattr(serve, "Tunnel", FakeTunnel)
        patch.setattr(launch, "run", self._play)
        if lock is not None:
            patch.setattr(resolve, "known", lambda *_, **__: lock)
            patch.setattr(workflow, "resolved", lambda *_: contextlib.nullcontext(lock))

    def _ssh(self, patch: pytest.MonkeyPatch) -> None:
        program = self.root / "bin" / "ssh"
        program.parent.mkdir()
        program.write_text(SSH.format(root=self.root, admin=ADMIN, begin=remote_command.BEGIN))
        program.chmod(0o755)
        patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def _play(self, ask: PlaybookRun, reporter: Reporter) -> Outcome:
        self.plays.append(ask)
        self.hosts = hosts_of(ask)
        if ask.playbook == NODE_REMOVE:
            (told,) = ask.vars_files
            self.removed.append(json.loads(told.read_text()))
            self.joined -= set(self.removed[-1]["node_remove_nodes"].split(","))
            self._show()
            return Outcome(status=PlaybookStatus.OK, stats={})
        if ask.playbook == CLUSTER_RESET:  # it refuses to run otherwise
            (told,) = ask.vars_files
            assert json.loads(told.read_text()) == {"cluster_reset_confirmed": True}
        nodes = set(ask.limit) or self.hosts
        if self.fails:
            failure = TaskFailure(host=min(nodes), task="Join", message="no")
            return Outcome(status=PlaybookStatus.FAILED, failures=(failure,))
        self.joined |= nodes
        self._show()
        stats = {name: HostStats(ok=3, changed=2) for name in nodes}
        return Outcome(status=PlaybookStatus.OK, stats=stats)

    def _show(self) -> None:
        """Let the nodes that have joined say what they are like."""
        for name in self.joined:
            self._tell(name)

    def _tell(self, name: str) -> None:
        """Let a node say what it is like: as the play has left it."""
        plane = name.startswith("cp")
        state = NodeState(
            record=name,
            begun=True,
            joined=True,
            nodes=tuple(map(_api_node, self.joined)) if plane else None,
            dns_answers=True,
            admin=Secret(ADMIN),
        )
        path = files.ensure_directory(self.root / "states") / name
        path.write_text(json.dumps(node_answers.document(state)))

    def up(
        self, workers: int, control_planes: int = 1, may_delete: frozenset[str] | None = frozenset()
    ) -> UpResult:
        """Do it, having forgotten what was done before."""
        FakeTunnel.nodes.clear()
        self.plays.clear()
        self.removed.clear()
        (self.root / "asked").write_text("")
        self.reporter = RecordingReporter()
        services = Services(paths=paths.from_environment(), reporter=self.reporter)
        wanted = Overrides(
            name="dev", provider="fake", workers=workers, control_planes=control_planes
        )
        options = UpOptions(may_delete=may_delete)
        return up(services, load.from_overrides(wanted), options)

    def machines(self) -> list[str]:
        """Return the nodes that have machines."""
        services = Services(paths=paths.from_environment(), reporter=self.reporter)
        return [m.node for m in session.provider_of(services, "fake", None).list("dev")]

    def recorded(self) -> list[str]:
        """Return the nodes of the record."""
        record = Services(paths=paths.from_environment(), reporter=self.reporter).state.read("dev")
        assert record is not None
        found = [node.name for node in load.from_document(record.document).nodes]
        assert set(record.nodes) <= set(found)
        return found

    def started(self) -> set[str]:
        """Return the nodes whose machines were made or started."""
        return {e.node for e in self.reporter.of(NodeProgress) if e.activity == "starting"}

    def reached(self, *words: str) -> set[str]:
        """Return the nodes on which a command was run over ssh, one with all words."""
        lines = [line.split() for line in (self.root / "asked").read_text().splitlines()]
        known = {f"cp{n}" for n in (1, 2, 3)} | {f"w{n}" for n in range(1, 9)}
        return {word for line in lines if {*words} <= {*line} for word in {*line} & known}


def _api_node(name: str) -> ApiNode:
    return ApiNode(name=name)


def hosts_of(ask: PlaybookRun) -> set[str]:
    text = ask.inventory.read_text().replace("!unsafe ", "")
    assert ask.inventory.name == INVENTORY_FILE
    found = yaml.safe_load(text)["all"]["children"]
    return {host for group in found.values() for host in group.get("hosts", ())}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_a_new_cluster_concerns_all_nodes(place: Place) -> None:
    result = place.up(workers=2)
    steps = [ended.step for ended in place.reporter.of(StepEnded)]
    assert sorted(steps) == sorted(STEPS)
    assert in_order(steps) == STEPS
    (play,) = place.plays
    assert (play.playbook, play.limit) == ("ohmykube.cluster.cluster_up", ())
    assert place.started() == set(FakeTunnel.nodes) == place.reached("true") == {"cp1", "w1", "w2"}
    assert result.changed
    assert [node.ready for node in result.nodes] == [True] * 3
    assert result.kubeconfig is not None


def test_of_one_worker_more_only_that_one_is_touched(place: Place) -> None:
    """Counts for each node what is done with it: for those that were there, nothing is."""
    place.up(workers=2)
    result = place.up(workers=3)
    assert result.plan.changes == (change.CreateNode(node="w3", role=Role.WORKER),)
    (play,) = place.plays
    assert play.limit == ("w3",)
    assert place.hosts == {"cp1", "w1", "w2", "w3"}, "the others are known to the play"
    assert place.started() == set(FakeTunnel.nodes) == place.reached("true") == {"w3"}
    assert place.reached() == {"w3", "cp1"}, "a control plane is asked how the cluster is"
    assert result.changed
    ready = {e.node for e in place.reporter.of(NodeProgress) if e.activity == "Ready"}
    assert ready == {"cp1", "w1", "w2", "w3"}, "all of them are waited for"
    assert [node.name for node in result.nodes] == ["cp1", "w1", "w2", "w3"]


def test_after_growing_the_cluster_is_as_described(place: Place) -> None:
    place.up(workers=2)
    place.up(workers=3)
    result = place.up(workers=3)
    assert result.plan == change.Plan()
    assert place.plays == []
    assert place.started() == set(FakeTunnel.nodes) == place.reached() == set()
    assert [node.ready for node in result.nodes] == [True] * 4
    assert not result.changed


def test_a_control_plane_more_concerns_all_nodes(place: Place) -> None:
    place.up(workers=1)
    place.up(workers=1, control_planes=3)
    assert place.plays[0].limit == ()
    assert place.started() == {"cp2", "cp3"}, "the others ran"
    assert set(FakeTunnel.nodes) == {"cp1", "cp2", "cp3", "w1"}


def test_after_a_run_that_did_not_end_all_nodes_are_looked_at(place: Place) -> None:
    place.up(workers=2)
    place.fails = True
    with pytest.raises(NodeError):
        place.up(workers=3)
    assert place.plays[0].limit == ("w3",)
    place.fails = False
    place.up(workers=3)
    assert place.plays[0].limit == ()
    assert set(FakeTunnel.nodes) == {"cp1", "w1", "w2", "w3"}


def test_nodes_too_many_leave_the_cluster_before_their_machines_go(place: Place) -> None:
    place.up(workers=3)
    result = place.up(workers=1, may_delete=None)
    (play,) = place.plays
    assert (play.playbook, play.limit) == (NODE_REMOVE, ())
    assert hosts_of(play) == {"cp1", "w1", "w2", "w3"}
    assert place.removed == [
        {"node_remove_nodes": "w2,w3", "node_remove_gone": True, "node_remove_force": True}
    ]
    assert place.machines() == place.recorded() == ["cp1", "w1"]
    assert place.started() == set(FakeTunnel.nodes) == set()
    assert result.changed
    assert [node.name for node in result.nodes] == ["cp1", "w1"]
    assert place.up(workers=1).plan == change.Plan()


def test_new_nodes_come_before_others_go(place: Place) -> None:
    """What runs on those that go has a place then."""
    place.up(workers=2)
    place.fails = True
    with pytest.raises(NodeError):
        place.up(workers=0, control_planes=3, may_delete=None)
    assert place.machines() == ["cp1", "cp2", "cp3", "w1", "w2"]
    assert sorted(place.recorded()) == ["cp1", "cp2", "cp3", "w1", "w2"]
    place.fails = False
    place.up(workers=0, control_planes=3, may_delete=None)
    assert [play.playbook for play in place.plays] == [CLUSTER_UP, NODE_REMOVE]
    assert place.machines() == ["cp1", "cp2", "cp3"]


@pytest.mark.parametrize("call", [1, 2])
def test_a_deletion_that_was_stopped_is_gone_on_with(place: Place, call: int) -> None:
    """The record has a node as long as anything of it may be there."""
    place.up(workers=3)
    services = Services(paths=paths.from_environment(), reporter=place.reporter)
    inject(services.paths, "delete", call=call)
    with pytest.raises(ProviderError):
        place.up(workers=1, may_delete=None)
    assert place.recorded() == ["cp1", "w1", "w2", "w3"]
    left = len(place.machines())
    assert left in (3, 4)
    plan = place.up(workers=1, may_delete=None).plan
    assert change.FinishRun() in plan.changes
    assert len(plan.deletions) == left - 2
    assert place.machines() == place.recorded() == ["cp1", "w1"]
    assert place.up(workers=1).plan == change.Plan()


def test_a_host_that_stays_is_reset(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Capabilities(creates=False, powers=False)
    monkeypatch.setattr(FakeProvider, "capabilities", theirs)
    place.up(workers=2)
    place.up(workers=1, may_delete=None)
    assert [(play.playbook, play.limit) for play in place.plays] == [
        (NODE_REMOVE, ()),
        (CLUSTER_RESET, ("w2",)),
    ]
    assert place.removed[0]["node_remove_gone"] is False, "it may still run"
    assert place.machines() == ["cp1", "w1"]


def test_a_failed_play_is_told_as_the_step_that_failed(place: Place) -> None:
    place.fails = True
    with pytest.raises(NodeError):
        place.up(workers=1)
    last = place.reporter.of(StepEnded)[-1]
    assert (last.step, last.status) == ("cluster-up", Status.FAILED)


def test_hosts_that_stay_are_reset_before_they_are_forgotten(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.up(workers=1)
    place.plays.clear()
    found = session.provider_of

    def keeping(*asked: Any) -> FakeProvider:
        provider = found(*asked)
        return FakeProvider(
            provider.context, dataclasses.replace(provider.capabilities, creates=False)
        )

    monkeypatch.setattr(session, "provider_of", keeping)
    services = Services(paths=paths.from_environment(), reporter=place.reporter)
    down(services, "dev")
    (play,) = place.plays
    assert (play.playbook, play.limit) == ("ohmykube.cluster.cluster_reset", ("cp1", "w1"))
    assert place.hosts == {"cp1", "w1"}
    assert services.state.names() == ()
