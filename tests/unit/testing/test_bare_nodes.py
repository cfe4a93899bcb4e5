"""The nodes for role development: bare, and made and ended by what runs in the background."""

from __future__ import annotations

import argparse
import subprocess
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import ExitCode
from ohmykube.model.cluster import TemplateUse
from ohmykube.progress import Message, NodeProgress, Status, StepEnded
from ohmykube.testing import nodes

if TYPE_CHECKING:
    from pathlib import Path


def test_nodes_are_never_cloned_from_templates() -> None:
    """Whatever this machine has templates of."""
    asked = {"control_planes": 1, "workers": 2, "kubernetes": None, "suite": "trixie"}
    cluster = nodes.bare(argparse.Namespace(name="roles", addon=["local-path"], **asked))
    assert cluster.template is TemplateUse.NEVER
    assert (cluster.name, cluster.provider, len(cluster.nodes)) == ("roles", "nspawn", 3)
    assert cluster.provider_options == {"suite": "trixie"}
    assert [(one.name, one.version) for one in cluster.addons] == [("local-path", "0.0.30")]


@pytest.mark.linux
def test_why_nodes_could_not_be_made_is_told_by_who_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the background process that knows."""
    monkeypatch.setenv("PATH", str(tmp_path))  # where no program is
    (tmp_path / nodes.READY).write_text("of a run before")
    assert nodes.main(["up", "--name", "roles", "--inventory", str(tmp_path)]) != ExitCode.OK
    said = capsys.readouterr().err
    assert 'the nodes of "roles" could not be made' in said
    assert "is not installed" in said or "root" in said
    assert not (tmp_path / nodes.READY).exists()


def test_a_mistake_in_what_is_asked_for_has_its_own_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["up", "--name", "roles", "--kubernetes", "0.1", "--inventory", str(tmp_path / "i")]
    assert nodes.main(words) == ExitCode.CONFIG
    assert "0.1" in capsys.readouterr().err
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("ended", [False, True])
def test_down_ends_what_serves_the_nodes(tmp_path: Path, *, ended: bool) -> None:
    """One that has ended already is fine, and so is none."""
    nodes.stop(tmp_path)
    with subprocess.Popen(["sleep", "600"]) as child:
        if ended:
            child.kill()
            child.wait()
        (tmp_path / nodes.PID).write_text(str(child.pid))
        nodes.stop(tmp_path)
        assert not nodes._alive(child.pid)
    assert not (tmp_path / nodes.PID).exists()


def test_steps_and_messages_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = nodes.LineReporter()
    reporter.emit(StepEnded(step="a", title="Do it", status=Status.OK, seconds=1.25, detail="x"))
    reporter.emit(NodeProgress(node="cp1", activity="busy"))
    reporter.emit(Message(text="by the way"))
    assert capsys.readouterr().err == "Do it: ok (1.2 s) x\nby the way\n"
