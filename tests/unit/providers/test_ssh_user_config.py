"""Hosts by their names in the user's own ssh configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ohmykube.errors import ConfigError
from ohmykube.kit import process
from ohmykube.model.cluster import Host
from ohmykube.providers import ssh_config
from ohmykube.providers.ssh.user_config import Logins, own_files

needs_ssh = pytest.mark.skipif(process.which("ssh") is None, reason="needs ssh")
pytestmark = needs_ssh
KEY = "ssh-ed25519 " + "A" * 68
TAKEN = (
    "addressfamily", "bindaddress", "certificatefile", "ciphers", "globalknownhostsfile",
    "hostkeyalgorithms", "hostkeyalias", "hostname", "identitiesonly", "identityagent",
    "identityfile", "kexalgorithms", "knownhostscommand", "macs", "port", "proxycommand",
    "proxyjump", "proxyusefdpass", "pubkeyacceptedalgorithms", "user", "userknownhostsfile",
)  # fmt: skip
CONFIGURATIONS = {
    "nothing": "",
    "address": "Host lab\nHostName 192.0.2.7\n",
    "all": "Host lab\nHostName 192.0.2.7\nPort 2222\nUser ops\nIdentityFile ~/.ssh/lab\n"
    "ProxyJump admin@bastion:99\n",
    "several keys": "Host lab\nIdentityFile ~/.ssh/a\nIdentityFile /k/b\nIdentitiesOnly yes\n",
    "a pattern": "Host l?b *.example\nUser ops\nPort 2201\n",
    "a negated pattern": "Host * !lab\nUser wrong\nHost *\nUser right\n",
    "the first counts": "Host lab\nPort 2\nHost *\nPort 3\nUser ops\n",
    "a token in the address": "Host lab\nHostName %h.example.org\n",
    "tokens of the name": "Host lab\nHostName 192.0.2.7\nIdentityFile ~/.ssh/%n-%r-%p-%h\n"
    "ProxyCommand nc -X 5 %h %p %n 100%%\nUserKnownHostsFile /k/%k\n",
    "blanks": 'Host lab\nIdentityFile "/k/with blank"\nCertificateFile "/k/a b"\n',
    "a jump of several": "Host lab\nProxyJump a,root@b:2200\n",
    "no jump for one": "Host lab\nProxyJump none\nHost *\nProxyJump bastion\n",
    "match on the host": "Match originalhost lab\nUser ops\nMatch host 192.0.2.7\nPort 9\n",
    "match on the user": "Match user admin\nPort 9\nMatch user root\nPort 8\n",
    "match by a program": 'Match originalhost lab exec "true"\nPort 7\n',
    "included": "Include {directory}/more*\nHost lab\nPort 5\n",
    "included for one": "Host lab\nInclude {directory}/more1\nHost *\nUser last\n",
    "known otherwise": "Host lab\nHostKeyAlias rack7\nUserKnownHostsFile /k/known\n",
    "other ciphers": "Host lab\nCiphers aes256-ctr\nHostKeyAlgorithms ssh-ed25519\n"
    "PubkeyAcceptedAlgorithms +ssh-rsa\nKexAlgorithms curve25519-sha256\n",
    "an agent": "Host lab\nIdentityAgent none\nAddressFamily inet\nBindAddress 127.0.0.1\n",
    "what is ours": "Host lab\nStrictHostKeyChecking no\nControlMaster yes\nBatchMode no\n"
    "LogLevel DEBUG\nLocalForward 8080 localhost:80\nRemoteCommand bash\nRequestTTY force\n",
}
LAB = Host(address="lab")
DESCRIBED = {
    "nothing": LAB,
    "the user": replace(LAB, user="admin"),
    "the port": replace(LAB, port=2022),
    "the usual values": replace(LAB, user="root", port=22),
    "a jump host": replace(LAB, jump="me@other"),
    "no jump host": replace(LAB, jump="none"),
    "all": replace(LAB, user="admin", port=2022, jump="other:44"),
}


def asked(*argv: str) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    told = process.run(["ssh", "-G", *argv], timeout=20).stdout
    for line in told.splitlines():
        option, _, value = line.partition(" ")
        options.setdefault(option, []).append(value)
    return options


def configured(tmp_path: Path, text: str) -> Path:
    (tmp_path / "more1").write_text("Host lab\nHostName 192.0.2.8\nUser included\n")
    path = tmp_path / "config"
    path.write_text(text.replace("{directory}", str(tmp_path)))
    return path


def rendered(tmp_path: Path, configuration: Path, host: Host) -> Path:
    target = Logins([configuration]).target(host, None)
    path = tmp_path / "rendered"
    path.write_text(ssh_config.render({"cp1": target}, tmp_path / ("long" * 12)))
    return path


@pytest.mark.parametrize("described", DESCRIBED)
@pytest.mark.parametrize("text", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_node_is_reached_as_ssh_reaches_its_host(
    tmp_path: Path, text: str, described: str
) -> None:
    """What the description leaves out is as ssh has it, whatever way the configuration says it."""
    host = DESCRIBED[described]
    configuration = configured(tmp_path, text)
    given = ["-l", host.user] if host.user else []
    given += ["-p", str(host.port)] if host.port else []
    given += ["-o", f"ProxyJump={host.jump}"] if host.jump else []
    wanted = asked("-F", str(configuration), *given, "lab")
    if host.user is None and "User" not in text and "Include" not in text:
        # Without a word of anybody it is root, to whom the lines on users apply then.
        wanted = asked("-F", str(configuration), *given, "-l", "root", "lab")
    if host.user is None and text == CONFIGURATIONS["match on the user"]:
        wanted["user"] = ["root"]
    found = asked("-F", str(rendered(tmp_path, configuration, host)), "cp1")
    for option in TAKEN:
        if option == "ciphers" and "Ciphers" not in text:
            continue  # ours are preferred
        names = {"%n": "lab", "%k": "lab"}
        expected = [
            " ".join(names.get(part, part) for part in value.split(" "))
            .replace("~/.ssh/%n", "~/.ssh/lab")
            .replace("/k/%k", "/k/lab")
            for value in wanted.get(option, [])
        ]
        assert found.get(option, []) == expected, option


@pytest.mark.parametrize(
    ("user", "expected"),
    [("", "root"), ("User root\n", "root"), ("User ops\n", "ops")],
)
def test_nobody_named_is_root(tmp_path: Path, user: str, expected: str) -> None:
    """A login name of the configuration counts even where it is the name of who runs this."""
    path = configured(tmp_path, f"Host lab\nPort 9\n{user}")
    assert Logins([path]).of(LAB).user == expected


def test_ours_stays_ours(tmp_path: Path) -> None:
    """How strictly keys are checked, and what is shared and printed, no configuration changes."""
    path = configured(tmp_path, CONFIGURATIONS["what is ours"])
    found = asked("-F", str(rendered(tmp_path, path, LAB)), "cp1")
    assert found["stricthostkeychecking"] == ["true"]
    assert found["batchmode"] == ["yes"]
    assert found["loglevel"] == ["ERROR"]
    assert {"localforward", "remotecommand"}.isdisjoint(found)
    assert found["requesttty"] != ["force"]


@pytest.mark.parametrize("jump", ["bastion", "admin@bastion:99"])
@pytest.mark.parametrize("by", ["description", "configuration"])
def test_a_jump_host_is_reached_as_ssh_reaches_it(tmp_path: Path, jump: str, by: str) -> None:
    """The user's configuration counts for every host on the way, and not for nodes of that name."""
    text = "Host bastion\nHostName 192.0.2.1\nPort 2200\nUser gate\nProxyJump outer\n"
    text += (
        "Host outer\nHostName 192.0.2.2\nHost cp1\nUser wrong\nHost *\nStrictHostKeyChecking no\n"
    )
    host = replace(LAB, jump=jump)
    if by == "configuration":
        text, host = f"Host lab\nProxyJump {jump}\n{text}", LAB
    path = configured(tmp_path, text)
    config = rendered(tmp_path, path, host)
    for name in ("bastion", "outer"):
        wanted = asked("-F", str(path), name)
        found = asked("-F", str(config), name)
        for option in ("hostname", "port", "user", "proxyjump", "identityfile"):
            assert found.get(option) == wanted.get(option), (name, option)
        assert found["stricthostkeychecking"] == ["true"]
    assert asked("-F", str(config), "cp1")["user"] == ["root"]


def test_a_pinned_key_is_looked_up_by_what_ssh_connects_to(tmp_path: Path) -> None:
    """A key of the description counts alone, under the address and port that the alias means."""
    text = "Host lab\nHostName 192.0.2.7\nPort 2222\nHostKeyAlias x\nUserKnownHostsFile /k\n"
    logins = Logins([configured(tmp_path, text)])
    pinned = replace(LAB, host_key=KEY)
    assert logins.known_hosts_line(pinned) == f"[192.0.2.7]:2222 {KEY}\n"
    assert logins.known_hosts_line(replace(pinned, port=22)) == f"192.0.2.7 {KEY}\n"
    assert logins.known_hosts_line(LAB) == ""
    target = logins.target(pinned, tmp_path / "known")
    assert target.options == ()
    assert target.known_hosts == tmp_path / "known"


def test_a_key_of_the_description_is_the_only_one(tmp_path: Path) -> None:
    path = configured(tmp_path, CONFIGURATIONS["several keys"])
    host = replace(LAB, identity_file=Path("/k/mine"))
    found = asked("-F", str(rendered(tmp_path, path, host)), "cp1")
    assert (found["identityfile"], found["identitiesonly"]) == (["/k/mine"], ["yes"])


@pytest.mark.parametrize("text", ["Nonsense yes\n", "Host lab\nPort x\n", "Include\n"])
def test_a_configuration_that_ssh_cannot_read_is_said(tmp_path: Path, text: str) -> None:
    """What ssh itself refuses is no empty answer."""
    with pytest.raises(ConfigError, match="cannot read its configuration for host lab") as error:
        Logins([configured(tmp_path, text)]).of(LAB)
    assert error.value.id == "OMK-V-490"
    assert error.value.hint == "ssh -G lab"


def test_the_files_are_those_of_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh takes the user's home from the system, so HOME says nothing."""
    before = own_files()
    monkeypatch.setenv("HOME", "/elsewhere")
    assert own_files() == before
    assert [path.name for path in before] == ["config", "ssh_config"]
