"""What is found of a cluster: nodes are asked only when the last run did not end."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import kubeadm

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.kit import process
from ohmykube.model.cluster import Host
from ohmykube.model.machine import MachineSpec, Resize
from ohmykube.state import layout
from ohmykube.state.record import Record
from ohmykube.steps import observe
from ohmykube.testing.fake_provider import FakeProvider

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.model.cluster import Cluster
    from ohmykube.model.machine import Machine
    from ohmykube.steps.context import Context

NODES = ("cp1", "w1", "w2")


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an ssh for which each node is a file with its answer; no file, no answer."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    told = tmp_path / "answers"
    told.mkdir()
    program.write_text(f'#!/bin/sh\necho "$3" >>{tmp_path}/asked\ncat "{told}/$3" || exit 255\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return told


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


def asked(answers: Path) -> set[str]:
    path = answers.parent / "asked"
    return set(path.read_text().split()) if path.exists() else set()


def test_after_a_whole_run_nobody_is_asked(made: Context, answers: Path) -> None:
    made = recorded(made, "started", observe.CONFIGURED)
    made.provider.delete("dev", "w1")
    found = observe.observe(made)
    assert set(found.machines) == {"cp1", "w2"}
    assert found.begun == found.joined == {"cp1", "w2"}
    assert not found.unfinished
    assert found.resizing.disk is Resize.ON_START
    assert asked(answers) == set()


def test_after_a_run_that_did_not_end_nodes_are_asked(made: Context, answers: Path) -> None:
    """A node that was never reached cannot have joined."""
    made = recorded(made, observe.CONFIGURED, "started")
    (answers / "cp1").write_text("begun\njoined\n")
    (answers / "w1").write_text("begun\n")
    found = observe.observe(made)
    assert found.unfinished
    assert (found.begun, found.joined) == ({"cp1", "w1"}, {"cp1"})
    (answers / "w1").write_text("")
    assert observe.observe(made).begun == {"cp1"}
    assert asked(answers) == {"cp1", "w1"}


def test_a_node_that_does_not_answer_counts_as_joined(made: Context, answers: Path) -> None:
    made = recorded(made, "started")
    (answers / "w1").write_text("")
    assert observe.observe(made).joined == {"cp1"}
    made.provider.stop("dev", "w1")
    assert observe.observe(made).joined == {"cp1", "w1"}


def test_before_any_node_was_reached_nobody_is_asked(made: Context, answers: Path) -> None:
    (made.directory / layout.SSH_CONFIG).unlink()
    found = observe.observe(made)
    assert found.unfinished
    assert set(found.machines) == set(NODES)
    assert (found.begun, found.joined) == (frozenset(), frozenset())
    assert asked(answers) == set()


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


# -- what is asked ---------------------------------------------------------------------------------


def ask(root: Path) -> list[str]:
    script = observe.ASK.replace(" /var/", f" {root}/var/").replace("=/var/", f"={root}/var/")
    return process.run(["sh", "-c", script], timeout=10).stdout.split()


def test_the_question_reads_what_the_modules_for_kubeadm_write(tmp_path: Path) -> None:
    assert ask(tmp_path) == []
    record = kubeadm.Record(str(tmp_path) + kubeadm.RECORD)
    record.begin("join", "0", "1.36.3")
    assert ask(tmp_path) == ["begun"]
    logs = tmp_path / kubeadm.LOG_DIRECTORY.lstrip("/")
    logs.mkdir(parents=True)
    for action, words in kubeadm.SUCCESS.items():
        log = logs / f"kubeadm-{action}.log"
        log.write_text(f"[kubelet]\n{words}!\n")
        assert ask(tmp_path) == ["begun", "joined"]
        log.write_text("[kubelet]\nfailed\n")
    assert ask(tmp_path) == ["begun"]
    record.finish("join")
    assert ask(tmp_path) == ["begun", "joined"]
