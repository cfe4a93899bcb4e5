"""The ssh configuration's text, what ssh itself makes of it, and what its failures mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohmykube.errors import ConfigError, ExitCode, OhmykubeError
from ohmykube.kit import process
from ohmykube.model.machine import SshTarget
from ohmykube.providers import ssh_config

CONTROL = Path("/run/omk/c")

GOLDEN = """\
Host cp1
  HostName 10.88.0.11
  Port 22
  User root
  IdentityFile "/d/id_ed25519"
  IdentitiesOnly yes
  UserKnownHostsFile "/d/known_hosts"
  GlobalKnownHostsFile none
  ProxyCommand nsenter --net=/run/netns/omk-dev nc -F 10.88.0.11 22
  ProxyUseFdpass yes

Host *
  StrictHostKeyChecking yes
  UpdateHostKeys no
  BatchMode yes
  ControlMaster auto
  ControlPath "/run/omk/c/%C"
  ControlPersist 60s
  ServerAliveInterval 5
  ServerAliveCountMax 4
  ConnectTimeout 10
  Ciphers ^aes128-gcm@openssh.com
  LogLevel ERROR
"""


def parsed(tmp_path: Path, node: str, **targets: SshTarget) -> dict[str, str]:
    """Return what the installed ssh understands."""
    if process.which("ssh") is None:
        pytest.skip("needs ssh")
    path = tmp_path / "config with blank"
    path.write_text(ssh_config.render(targets, tmp_path / "c"))
    text = process.run(["ssh", "-G", "-F", str(path), node], timeout=10).stdout
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def test_golden() -> None:
    target = SshTarget(
        address="10.88.0.11",
        user="root",
        identity_file=Path("/d/id_ed25519"),
        known_hosts=Path("/d/known_hosts"),
        proxy_command=("nsenter", "--net=/run/netns/omk-dev", "nc", "-F", "10.88.0.11", "22"),
        proxy_fdpass=True,
    )
    assert ssh_config.render({"cp1": target}, CONTROL) == GOLDEN


@pytest.mark.parametrize(
    "name", ["with blank", 'with"quote', "with\\back", "with%percent", "é#;$x"]
)
def test_ssh_reads_odd_paths_as_they_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    target = SshTarget(address="h", user="u", identity_file=path, known_hosts=path)
    found = parsed(tmp_path, "n", n=target)
    # -G shows file names before it expands %% in them.
    assert found["identityfile"].replace("%%", "%") == str(path)
    shown = found["userknownhostsfile"]
    assert shown.strip('"').replace("%%", "%").replace("\\\\", "\\") == str(path)


def test_ssh_reads_the_proxy_command_as_a_shell_line(tmp_path: Path) -> None:
    command = ("nc", "a b", "100%", "$(touch x)", "it's")
    target = SshTarget(address="h", user="u", proxy_command=command)
    found = parsed(tmp_path, "n", n=target)
    assert found["proxycommand"] == "nc 'a b' 100%% '$(touch x)' 'it'\"'\"'s'"
    assert found["proxyusefdpass"] == "no"


@pytest.mark.parametrize("on_this_host", [True, False])
def test_the_slow_key_exchange_is_left_to_connections_that_can_be_recorded(
    tmp_path: Path, *, on_this_host: bool
) -> None:
    """All other ways that ssh has of its own stay, in its own order."""
    near = SshTarget(address="h", user="u", on_this_host=on_this_host)
    far = SshTarget(address="h2", user="u")
    ssh_own = parsed(tmp_path, "far", near=near, far=far)["kexalgorithms"].split(",")
    offered = parsed(tmp_path, "near", near=near, far=far)["kexalgorithms"].split(",")
    slow = [name for name in ssh_own if on_this_host and name.startswith("sntrup761")]
    assert offered == [name for name in ssh_own if name not in slow]
    assert any(name.startswith("curve25519") for name in offered)


def test_one_node_does_not_inherit_from_another(tmp_path: Path) -> None:
    first = SshTarget(address="h1", user="u1", port=2201, jump="ops@bastion:2200")
    second = SshTarget(address="h2", user="u2", become=True)
    one = parsed(tmp_path, "a", a=first, b=second)
    two = parsed(tmp_path, "b", a=first, b=second)
    assert (one["hostname"], one["port"], one["proxyjump"]) == ("h1", "2201", "ops@bastion:2200")
    assert (two["hostname"], two["port"], two["user"]) == ("h2", "22", "u2")
    assert "proxyjump" not in two
    assert one["stricthostkeychecking"] == two["stricthostkeychecking"] == "true"
    assert one["batchmode"] == "yes"


def test_a_jump_host_is_opened_with_the_nodes_key(tmp_path: Path) -> None:
    target = SshTarget(
        address="h", user="u", jump="[fd00::1]:22", identity_file=Path("/k"), known_hosts=Path("/h")
    )
    found = parsed(tmp_path, "fd00::1", n=target)
    assert found["identityfile"] == "/k"
    assert found["userknownhostsfile"].startswith("/h ")


def test_a_node_as_jump_host_keeps_its_own_entry() -> None:
    text = ssh_config.render(
        {
            "a": SshTarget(address="h", user="u", jump="b", identity_file=Path("/k")),
            "b": SshTarget(address="h2", user="u"),
        },
        CONTROL,
    )
    assert text.count("Host b\n") == 1


@pytest.mark.parametrize(
    "target",
    [
        SshTarget(address="-oProxyCommand=touch x", user="u"),
        SshTarget(address="a b", user="u"),
        SshTarget(address="h\nProxyCommand x", user="u"),
        SshTarget(address="h", user="-l"),
        SshTarget(address="h", user="u\nx"),
        SshTarget(address="h", user="u", jump="-oProxyCommand=x"),
        SshTarget(address="h", user="u", jump="a,b c"),
        SshTarget(address="h", user="u", identity_file=Path("/a\nb")),
        SshTarget(address="h", user="u", identity_file=Path("/${HOME}/x")),
        SshTarget(address="h", user="u", identity_file=Path("relative")),
        SshTarget(address="h", user="u", proxy_command=("a\nb",)),
    ],
)
def test_what_ssh_could_misread_is_refused(target: SshTarget) -> None:
    with pytest.raises(ConfigError, match="cannot be used with ssh"):
        ssh_config.render({"n": target}, CONTROL)


def test_node_names_are_checked_too() -> None:
    with pytest.raises(ConfigError):
        ssh_config.render({"*": SshTarget(address="h", user="u")}, CONTROL)


@pytest.mark.parametrize(
    ("stderr", "id", "code"),
    [
        ("ssh: connect to host h port 22: Connection refused", "OMK-V-106", 14),
        ("Connection timed out during banner exchange", "OMK-V-106", 14),
        ("ssh: Could not resolve hostname h: Name or service not known", "OMK-V-106", 14),
        ("root@h: Permission denied (publickey).", "OMK-V-102", 14),
        (
            (
                "@@@@@@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@@@@@\n"
                "Offending ED25519 key in /k:1\nHost key verification failed."
            ),
            "OMK-V-103",
            12,
        ),
        (
            (
                "No ED25519 host key is known for h and you have requested strict checking.\n"
                "Host key verification failed."
            ),
            "OMK-V-104",
            12,
        ),
        ("something new", "OMK-V-101", 14),
        ("", "OMK-V-101", 14),
    ],
)
def test_failures_are_told_apart(stderr: str, id: str, code: int) -> None:
    result = process.Result(("ssh",), 255, "", stderr)
    error = ssh_config.explain("cp1", process.CommandFailed(result), Path("/x"), "cp1")
    assert (error.id, error.exit_code) == (id, ExitCode(code))
    assert "cp1" in error.message
    assert error.hint


def test_a_time_limit_is_told_apart() -> None:
    failed = process.CommandFailed(process.Result(("ssh",), -15, "", ""), timed_out=True)
    assert ssh_config.explain("cp1", failed, Path("/x"), "cp1").id == "OMK-V-105"


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an ssh on PATH that notes its arguments and does what $FAKE says."""
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/args\neval "$FAKE"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path / "args"


def test_probe_runs_true(fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", "exit 0")
    ssh_config.probe(Path("/x/config"), "cp1", timeout=5)
    assert fake_ssh.read_text().splitlines() == ["-F", "/x/config", "cp1", "--", "true"]


def test_probe_explains_a_refusal(fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", "echo 'Permission denied (publickey).' >&2; exit 255")
    with pytest.raises(OhmykubeError) as error:
        ssh_config.probe(Path("/x/config"), "cp1", timeout=5)
    assert error.value.id == "OMK-V-102"
