"""Completion: scripts, and answers from memory."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.data.cli.fake_cli import NODES


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(cli, tmp_path, shell) -> None:
    outcome = cli("completion", shell)
    assert outcome.code == 0
    assert "_OHMYKUBE_COMPLETE" in outcome.out
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(outcome.out)
        subprocess.run([shell, "-n", str(script)], check=True, timeout=30)


@pytest.fixture
def complete(cli, monkeypatch):
    def ask(*words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", " ".join(["ohmykube", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        outcome = cli(_OHMYKUBE_COMPLETE="bash_complete")
        assert (outcome.code, outcome.err) == (0, "")
        return [line.partition(",")[2] for line in outcome.out.split()]

    return ask


def test_commands(complete) -> None:
    assert complete("st") == ["status", "start", "stop"]
    assert complete("config", "te") == ["template"]


def test_options_and_choices(complete) -> None:
    assert "--workers" in complete("up", "--w")
    assert complete("list", "-o", "j") == ["json"]
    assert complete("completion", "f") == ["fish"]
    assert complete("help", "x") == []


def test_clusters(complete, fakes) -> None:
    fakes.clusters = ("dev", "demo", "prod")
    assert complete("status", "de") == ["dev", "demo"]
    assert complete("down", "--name", "p") == ["prod"]


def test_nodes(complete, fakes) -> None:
    assert complete("shell", "dev-w") == list(NODES[1:])
    assert complete("shell", "--name", "nope", "dev-w") == []


def test_paths_of_nodes_and_files(cli, complete) -> None:
    ask = complete("cp", "dev-w")
    assert ask == [*(f"{node}:" for node in NODES[1:]), "dev-w"]
    assert "file,dev-w" in cli(_OHMYKUBE_COMPLETE="bash_complete").out.split()
    assert complete("cp", "x", "dev-w") == ask


def test_providers(complete) -> None:
    assert complete("up", "--provider", "au") == ["auto"]


def test_a_failing_answer_is_silent(cli, fakes, monkeypatch) -> None:
    monkeypatch.setenv("COMP_WORDS", "ohmykube status d")
    monkeypatch.setenv("COMP_CWORD", "2")
    del fakes.clusters
    outcome = cli(_OHMYKUBE_COMPLETE="bash_complete")
    assert (outcome.code, outcome.out, outcome.err) == (1, "", "")
    assert cli(_OHMYKUBE_COMPLETE="tcsh_complete").code == 1
    assert cli(_OHMYKUBE_COMPLETE="bash_source").code == 1
