"""Why a key was refused: advice fits what is wrong with it, and a good key is not blamed."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit import process
from ohmykube.model.machine import SshTarget
from ohmykube.providers import ssh_config, ssh_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

if process.which("ssh") is None:
    pytest.skip("there is no ssh", allow_module_level=True)


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a key that can be shown to anybody; there is no agent."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    path = tmp_path / "a key"
    keygen("-N", "", "-f", str(path))
    return path


def keygen(*argv: str) -> None:
    process.run(["ssh-keygen", "-q", "-t", "ed25519", *argv], timeout=20)


def lock(path: Path) -> None:
    process.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(path)], timeout=20)


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run an agent without keys."""
    directory = tempfile.TemporaryDirectory(prefix="omk-agent-")
    socket = Path(directory.name) / "s"
    child = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield
    child.kill()
    child.communicate()
    directory.cleanup()


def judged(tmp_path: Path, key: Path | None) -> tuple[str, str]:
    config = tmp_path / "config"
    target = SshTarget(address="192.0.2.1", user="ops", identity_file=key)
    config.write_text(ssh_config.render({"cp1": target}, tmp_path / ("long" * 12)))
    return ssh_keys.unusable(config, "cp1")


def public(path: Path) -> None:
    path.chmod(0o644)


def spoil(path: Path) -> None:
    path.write_text("-----BEGIN NOTHING-----\n")


@pytest.mark.parametrize(
    ("harm", "why", "hint"),
    [
        (lock, "locked with a passphrase", "ssh-add '"),
        (public, "may be read by others", "chmod 600 '"),
        (spoil, "is not a private key", "ssh-keygen -y -f '"),
    ],
)
def test_a_key_that_could_not_be_shown_is_named_with_its_remedy(
    tmp_path: Path, key: Path, harm, why: str, hint: str
) -> None:
    harm(key)
    told = judged(tmp_path, key)
    assert told[0].startswith(f"{key} ")
    assert why in told[0]
    assert told[1].startswith(hint)


def test_a_good_key_was_refused_indeed(tmp_path: Path, key: Path) -> None:
    assert judged(tmp_path, key) == ("", "")
    assert judged(tmp_path, tmp_path / "nowhere") == ("", "")


def test_a_locked_key_that_the_agent_has_was_refused_indeed(
    tmp_path: Path, key: Path, agent: None
) -> None:
    process.run(["ssh-add", "-q", str(key)], timeout=20)
    lock(key)
    assert judged(tmp_path, key) == ("", "")
    other = tmp_path / "other"
    keygen("-N", "secret", "-f", str(other))
    assert "no ssh agent has it" in judged(tmp_path, other)[0]


def test_without_the_programs_nothing_is_blamed(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(key)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert judged(tmp_path, key) == ("", "")


def test_the_refusal_is_told_as_what_it_is(tmp_path: Path, key: Path) -> None:
    judged(tmp_path, key)
    failed = process.CommandFailed(
        process.Result(("ssh",), 255, "", "ops@192.0.2.1: Permission denied (publickey).")
    )
    for harm, id in ((None, "OMK-V-102"), (lock, "OMK-V-354")):
        if harm is not None:
            harm(key)
        error = ssh_config.explain("cp1 (ops@192.0.2.1)", failed, tmp_path / "config", "cp1")
        assert error.id == id
        assert id in ssh_config.REFUSED
