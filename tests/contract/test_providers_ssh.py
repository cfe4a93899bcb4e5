"""The ssh provider against real sshds: become, jump host, changed key, refusals."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from outside import reach
from test_providers import pinned_hosts, ssh_provider

from ohmykube.errors import IntegrityError, LockedError, PrerequisiteError, UnreachableError
from ohmykube.kit import process
from ohmykube.model.cluster import Host
from ohmykube.model.machine import MachineSpec, MachineState
from ohmykube.providers import ssh_config
from ohmykube.steps.node_shell import NodeShell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.model.machine import Machine
    from ohmykube.providers.nspawn.provider import NspawnProvider

pytestmark = pytest.mark.nodes
SPEC = MachineSpec(cluster="dev", node="cp1")


@pytest.fixture
def hosts(bare_nodes: tuple[NspawnProvider, str, list[Machine]]) -> list[Host]:
    return pinned_hosts(bare_nodes)


@pytest.fixture
def machine(bare_nodes: tuple[NspawnProvider, str, list[Machine]]) -> Machine:
    return bare_nodes[2][0]


@pytest.fixture
def user(machine: Machine, tmp_path: Path) -> Iterator[str]:
    """Make a user with our key and without sudo on the first host."""
    command = (
        "useradd -m ops && mkdir -m700 ~ops/.ssh && cp ~/.ssh/authorized_keys ~ops/.ssh/ "
        "&& chown -R ops: ~ops/.ssh"
    )
    made = reach(machine, tmp_path, command)
    assert made.code == 0, made.stderr
    yield "ops"
    reach(machine, tmp_path, "rm -f /etc/sudoers.d/ops; userdel -rf ops")


def test_sudo(machine: Machine, hosts: list[Host], user: str, tmp_path: Path) -> None:
    host = replace(hosts[0], user=user, become=True)
    provider = ssh_provider(tmp_path, "dev", {"cp1": host})
    with pytest.raises(PrerequisiteError, match="sudo on node cp1"):
        provider.create(SPEC)
    plain = ssh_provider(tmp_path, "dev", {"cp1": replace(host, become=False)})
    with pytest.raises(PrerequisiteError, match="hosts are not ready for nodes") as error:
        plain.prepare()
    assert error.value.why is not None
    assert "without root rights" in error.value.why
    allow = "echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops"
    tty = "; echo 'Defaults:ops requiretty' >>/etc/sudoers.d/ops"
    assert reach(machine, tmp_path, allow + tty).code == 0
    with pytest.raises(PrerequisiteError, match="wants a terminal") as error:
        provider.create(SPEC)
    assert "Defaults:ops !requiretty" in str(error.value.hint)
    assert reach(machine, tmp_path, allow).code == 0
    made = provider.create(SPEC)
    assert made.address == machine.address
    assert made.ssh is not None
    assert made.ssh.become
    provider.delete("dev", "cp1")


@pytest.fixture(autouse=True)
def _unmarked(
    bare_nodes: tuple[NspawnProvider, str, list[Machine]], tmp_path: Path
) -> Iterator[None]:
    """Let no failed test keep its hosts from the next."""
    yield
    for machine in bare_nodes[2]:
        reach(machine, tmp_path, "rm -rf /var/lib/ohmykube/machine.json")


def test_a_jump_host(
    bare_nodes: tuple[NspawnProvider, str, list[Machine]], hosts: list[Host], tmp_path: Path
) -> None:
    # The second host is reached by its inner address, through the first.
    address = bare_nodes[2][1].address
    jump = f"root@{hosts[0].address}:{hosts[0].port}"
    inner = replace(hosts[1], address=address, port=22, jump=jump)
    provider = ssh_provider(tmp_path, "dev", {"cp1": hosts[0], "w1": inner})
    provider.create(SPEC)
    made = provider.create(replace(SPEC, node="w1"))
    assert made.address == address
    result = reach(made, tmp_path, "hostname")
    assert (result.stdout, result.stderr) == ("h2\n", "")
    for node in ("cp1", "w1"):
        provider.delete("dev", node)


def test_hosts_by_their_names_in_the_users_configuration(
    bare_nodes: tuple[NspawnProvider, str, list[Machine]], hosts: list[Host], tmp_path: Path
) -> None:
    """What ssh reaches by a name of the user's is reached by it alone, also behind another."""
    known = tmp_path / "known"
    inner = bare_nodes[2][1].address
    known.write_text(
        f"[{hosts[0].address}]:{hosts[0].port} {hosts[0].host_key}\n{inner} {hosts[1].host_key}\n"
    )
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/lab").write_text(
        f"Host lab-1\nHostName {hosts[0].address}\nPort {hosts[0].port}\n"
        f"Host lab-2\nHostName {inner}\nProxyJump lab-1\n"
    )
    configuration = tmp_path / "ssh config"
    configuration.write_text(
        f"Include {tmp_path}/conf.d/*\nMatch originalhost lab-*\nUser root\n"
        f"IdentityFile {hosts[0].identity_file}\nIdentitiesOnly yes\nUserKnownHostsFile {known}\n"
    )
    named = {"cp1": Host(address="lab-1"), "w1": Host(address="lab-2")}
    provider = ssh_provider(tmp_path, "dev", named, (configuration,))
    provider.prepare()
    made = [provider.create(replace(SPEC, node=node)) for node in named]
    assert [machine.address for machine in made] == [one.address for one in bare_nodes[2][:2]]
    assert [reach(machine, tmp_path, "hostname").stdout for machine in made] == ["h1\n", "h2\n"]
    # The description wins, and its key is checked where the alias leads.
    pinned = replace(named["w1"], host_key=hosts[0].host_key)
    other = ssh_provider(tmp_path, "dev", {**named, "w1": pinned}, (configuration,))
    with pytest.raises(IntegrityError, match="not the one expected"):
        other.create(replace(SPEC, node="w1"))
    for node in named:
        provider.delete("dev", node)


def test_a_changed_host_key(hosts: list[Host], tmp_path: Path) -> None:
    other = replace(hosts[0], host_key=hosts[1].host_key)
    provider = ssh_provider(tmp_path, "dev", {"cp1": other})
    with pytest.raises(IntegrityError, match="not the one expected") as error:
        provider.create(SPEC)
    assert error.value.exit_code == 12
    assert list(provider.list("dev")) == []


def test_an_unknown_host_key(hosts: list[Host], tmp_path: Path) -> None:
    provider = ssh_provider(tmp_path, "dev", {"cp1": replace(hosts[0], host_key=None)})
    with pytest.raises(IntegrityError, match="is not known"):
        provider.create(SPEC)


def test_a_refused_key(hosts: list[Host], tmp_path: Path) -> None:
    provider = ssh_provider(tmp_path, "dev", {"cp1": replace(hosts[0], user="nobody")})
    with pytest.raises(UnreachableError, match="refuses our ssh key"):
        provider.create(SPEC)


def test_a_locked_key(hosts: list[Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = tmp_path / "key"
    key.write_bytes(Path(str(hosts[0].identity_file)).read_bytes())
    key.chmod(0o600)
    process.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)], timeout=20)
    provider = ssh_provider(tmp_path, "dev", {"cp1": replace(hosts[0], identity_file=key)})
    with pytest.raises(UnreachableError, match="no ssh key could be shown") as error:
        provider.create(SPEC)
    assert error.value.hint == f"ssh-add {key}"


NOISY = """
echo 'echo "welcome to $(hostname), disk=42% full"' >~ops/.bashrc
usermod -s /bin/bash ops
echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops
cp -n /etc/environment /root/environment.kept 2>/dev/null || : >/root/environment.kept
printf '%s=http://192.0.2.9:3128\n' http_proxy https_proxy HTTPS_PROXY >>/etc/environment
"""


def test_a_login_that_greets_and_has_proxies(
    machine: Machine, hosts: list[Host], user: str, tmp_path: Path
) -> None:
    """What start-up files print and PAM sets reaches no command of ours."""
    assert reach(machine, tmp_path, NOISY).code == 0
    try:
        host = replace(hosts[0], user=user, become=True)
        provider = ssh_provider(tmp_path, "dev", {"cp1": host})
        made = provider.create(SPEC)
        assert list(provider.list("dev")) == [made]
        assert made.ssh is not None
        config = tmp_path / "of-run"
        config.write_text(ssh_config.render({"cp1": made.ssh}, tmp_path / ("long" * 12)))
        told = NodeShell(config, "cp1", become=True)(["env"])
        names = {line.partition("=")[0] for line in told.splitlines()}
        assert names == {"HOME", "LC_ALL", "PATH"}
        greeting = reach(replace(made, node="cp1"), tmp_path, "true").stdout
        assert "welcome" in greeting, "the host greets"
        provider.delete("dev", "cp1")
    finally:
        reach(machine, tmp_path, "mv -f /root/environment.kept /etc/environment")


def test_nothing_listens(hosts: list[Host], tmp_path: Path) -> None:
    with socket.socket() as silent:  # kept, so that nobody else listens there
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        provider = ssh_provider(tmp_path, "dev", {"cp1": replace(hosts[0], port=port)})
        with pytest.raises(UnreachableError) as error:
            provider.create(SPEC)
    assert error.value.why is not None
    assert "refused" in error.value.why


def test_a_busy_port_on_the_host(hosts: list[Host], machine: Machine, tmp_path: Path) -> None:
    listen = "systemd-run --unit=busy -q socat TCP-LISTEN:6443,fork /dev/null"
    assert reach(machine, tmp_path, listen).code == 0
    try:
        wait = "for i in $(seq 50); do ss -ltn | grep -q :6443 && exit 0; sleep 0.1; done; exit 1"
        assert reach(machine, tmp_path, wait).code == 0
        provider = ssh_provider(tmp_path, "dev", {"cp1": hosts[0]})
        with pytest.raises(PrerequisiteError) as error:
            provider.prepare()
        assert error.value.why == "cp1: ports of Kubernetes: in use: 6443"
    finally:
        reach(machine, tmp_path, "systemctl stop busy")


def test_two_users_clusters_of_one_name(hosts: list[Host], tmp_path: Path) -> None:
    mine = ssh_provider(tmp_path / "mine", "dev", {"cp1": hosts[0]})
    yours = ssh_provider(tmp_path / "yours", "dev", {"cp1": hosts[0]})
    made = mine.create(SPEC)
    with pytest.raises(LockedError, match="belongs to another"):
        yours.create(SPEC)
    yours.delete("dev", "cp1")
    assert list(mine.list("dev")) == [made]
    mine.delete("dev", "cp1")


def test_a_host_that_goes_down_and_comes_back(
    bare_nodes: tuple[NspawnProvider, str, list[Machine]], hosts: list[Host], tmp_path: Path
) -> None:
    nodes, cluster, _ = bare_nodes
    provider = ssh_provider(tmp_path, "dev", {"cp1": hosts[2]})
    made = provider.create(SPEC)
    nodes.stop(cluster, "h3")
    try:
        (seen,) = provider.list("dev")
        assert (seen.state, seen.address) == (MachineState.UNKNOWN, made.address)
        assert seen.problem
    finally:
        nodes.start(cluster, "h3")
    assert list(provider.list("dev")) == [made]
    provider.delete("dev", "cp1")


class TestProbe:
    def config(self, machine: Machine, tmp_path: Path, **changes: object) -> Path:
        assert machine.ssh is not None
        target = replace(machine.ssh, **changes)  # type: ignore[arg-type]
        path = tmp_path / "config"
        path.write_text(ssh_config.render({"h1": target}, tmp_path / ("long" * 12)))
        return path

    def test_answers(self, machine: Machine, tmp_path: Path) -> None:
        ssh_config.probe(self.config(machine, tmp_path), "h1", timeout=20)

    def test_connections_are_shared(self, machine: Machine, tmp_path: Path) -> None:
        assert machine.ssh is not None
        with tempfile.TemporaryDirectory(dir="/tmp", prefix="omk") as control:
            path = tmp_path / "config"
            path.write_text(ssh_config.render({"h1": machine.ssh}, Path(control)))
            ssh_config.probe(path, "h1", timeout=20)
            ask = ["ssh", "-F", str(path), "-O", "check", "h1"]
            assert "running" in process.run(ask, timeout=60).stderr
            process.run(["ssh", "-F", str(path), "-O", "exit", "h1"], timeout=60)

    def test_changed_key(self, machine: Machine, tmp_path: Path) -> None:
        known = tmp_path / "known"
        assert machine.ssh is not None
        assert machine.ssh.known_hosts is not None
        lines = machine.ssh.known_hosts.read_text().splitlines()
        other = lines[1].split(" ", 1)[1]
        known.write_text(f"{machine.address} {other}\n")
        with pytest.raises(IntegrityError):
            ssh_config.probe(self.config(machine, tmp_path, known_hosts=known), "h1", timeout=20)

    def test_a_path_with_blanks_and_quotes(self, machine: Machine, tmp_path: Path) -> None:
        odd = tmp_path / 'a b"c%d'
        odd.mkdir()
        assert machine.ssh is not None
        assert machine.ssh.known_hosts is not None
        assert machine.ssh.identity_file is not None
        for source in (machine.ssh.known_hosts, machine.ssh.identity_file):
            (odd / source.name).write_bytes(source.read_bytes())
            (odd / source.name).chmod(0o600)
        path = self.config(
            machine,
            tmp_path,
            known_hosts=odd / "known_hosts",
            identity_file=odd / "id_ed25519",
        )
        ssh_config.probe(path, "h1", timeout=20)
