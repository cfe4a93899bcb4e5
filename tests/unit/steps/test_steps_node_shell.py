"""Commands on a node: what comes back is what they printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import NodeError
from ohmykube.steps.node_shell import NodeShell

if TYPE_CHECKING:
    from pathlib import Path

NOISE = (
    "welcome to h, disk=42% full\\n",
    "no end of line",
    '{"record": 1}\\n',
    "ok\\n",
)


def node(place: Path, patch: pytest.MonkeyPatch, start_up: str, shell: str = "sh") -> NodeShell:
    """Put an ssh first on PATH that does what sshd does: start-up files, then the command."""
    program = place / "bin" / "ssh"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\n{start_up}\nshift 4; exec {shell} -c "$*"\n')
    program.chmod(0o755)
    patch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return NodeShell(place / "config", "cp1")


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_what_the_login_shell_prints_is_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, noise: str
) -> None:
    """Every command is told apart from a greeting, byte by byte."""
    ask = node(tmp_path, monkeypatch, f"printf '{noise}'", shell)
    assert ask(["printf", "%s|", "a b", "$HOME", "'"]) == "a b|$HOME|'|"
    assert ask(["cat"], stdin="{}\n\n") == "{}\n\n"
    with pytest.raises(NodeError, match="failed on node cp1"):
        ask(["false"])


def test_a_login_shell_that_runs_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = node(tmp_path, monkeypatch, "echo This account is closed; exit 0")
    with pytest.raises(NodeError, match="login shell of node cp1") as error:
        ask(["true"])
    assert error.value.why == "This account is closed"


def test_commands_get_nothing_of_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What PAM and start-up files set is for people: proxies, sockets, languages."""
    hostile = ("https_proxy", "HTTP_PROXY", "CONTAINERD_ADDRESS", "KUBECONFIG", "LD_LIBRARY_PATH")
    ask = node(tmp_path, monkeypatch, "\n".join(f"export {name}=/x LC_ALL=de" for name in hostile))
    found = dict(line.split("=", 1) for line in ask(["env"]).splitlines())
    assert found.keys() == {"HOME", "LC_ALL", "PATH"}
    assert (found["HOME"], found["LC_ALL"]) == ("/root", "C.UTF-8")


@pytest.mark.parametrize("noise", NOISE[:1])
@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_bytes_are_read_after_the_greeting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: str, size: int
) -> None:
    ask = node(tmp_path, monkeypatch, f"printf '{noise}'")
    content = bytes(range(256)) * (size // 256) + b"\n" * (size % 256)
    (tmp_path / "file").write_bytes(content)
    assert ask.read(["cat", str(tmp_path / "file")], lambda stream: stream.read(), 30) == content
    with pytest.raises(NodeError, match="`cat` failed on node cp1"):
        ask.read(["cat", str(tmp_path / "none")], lambda stream: stream.read(), 30)


def test_a_login_shell_that_runs_nothing_is_named_to_who_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = node(tmp_path, monkeypatch, "echo This account is closed; exit 0")
    with pytest.raises(NodeError, match="login shell of node cp1"):
        ask.read(["true"], lambda stream: stream.read(), 30)
