"""The ssh provider over hosts that are directories; its shell scripts run for real."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import (
    ConfigError,
    IntegrityError,
    Interrupted,
    LockedError,
    NodeError,
    NotFoundError,
    OhmykubeError,
    PrerequisiteError,
    ProviderError,
    UnreachableError,
)
from ohmykube.kit import process
from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Cluster, Host, Network, Node, Role
from ohmykube.model.machine import Machine, MachineSpec, MachineState, SshTarget
from ohmykube.progress import Message
from ohmykube.providers.base import CheckStatus, ProviderContext
from ohmykube.providers.ssh import host_facts, preflight
from ohmykube.providers.ssh.provider import SshProvider
from ohmykube.providers.ssh.remote_script import OpenSsh
from ohmykube.testing.conformance import ProviderConformance, Subject
from ohmykube.testing.reporter import RecordingReporter
from tests import unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD = {
    "uid": "0",
    "machine": "x86_64",
    "python": "3.11",
    "systemd": "yes",
    "cpus": "4",
    "memory_kib": str(4 << 20),
    "disk_kib": str(50 << 20),
    "swaps": "0",
    "listening": "0016",
    "module_overlay": "yes",
    "module_br_netfilter": "yes",
    "system": "debian 12",
    "addresses": "127.0.0.1 10.0.0.5",
    "route": "10.0.0.5",
    "arrived": "10.0.0.1 5000 10.0.0.5 22",
}
NOISE = (
    b"welcome to h, disk=42% full\n",
    b"no end of line",
    b'uid=1000\nmarker={"cluster": "other"}\n',
    b"hi\n",
    b"\xff\x1b[1mbold\r\n\n\n",
    b"x" * 100_000 + b"\n",
)
"""What start-up files of shells print, some of it like our own answers."""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBnnBqBUr1rQ"


@dataclass
class FakeHosts:
    """Hosts by address: a directory, facts, and what goes wrong."""

    root: Path
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    errors: dict[str, OhmykubeError] = field(default_factory=dict)
    seen: list[tuple[SshTarget, str]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)

    def marker(self, address: str) -> Path:
        return self.root / address / "machine.json"

    def run(
        self, node: str, target: SshTarget, script: str, *, trusted: str, timeout: float
    ) -> str:
        assert 0 < timeout <= 30
        self.seen.append((target, trusted))
        self.scripts.append(script)
        if target.address in self.errors:
            raise self.errors[target.address]
        local = script.replace(host_facts.MARKER, str(self.marker(target.address)))
        # Of the pythons that may be on PATH ours is no script that first looks for a version.
        own = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environ = unmeasured.environment() | {"PATH": own}
        output = process.run(["sh", "-s"], timeout=20, input=local, env=environ).stdout
        if "say uid" in script:
            marker = [line for line in output.splitlines() if line.startswith("marker=")]
            facts = GOOD | self.facts.get(target.address, {})
            output = "\n".join([*marker, *(f"{key}={value}" for key, value in facts.items())])
        return output


@pytest.fixture
def hosts(tmp_path: Path) -> FakeHosts:
    return FakeHosts(tmp_path / "hosts")


def cluster_of(name: str, *hosts: Host | None) -> Cluster:
    names = ("cp1", "w1", "w2")
    nodes = tuple(
        Node(name=node, role=Role.CONTROL_PLANE if node == "cp1" else Role.WORKER, host=host)
        for node, host in zip(names, hosts, strict=False)
    )
    return Cluster(name=name, kubernetes_version="1.36.3", provider="ssh", nodes=nodes)


def provider_of(hosts: FakeHosts, home: Path, cluster: Cluster | None) -> SshProvider:
    paths = Paths(state=home / "s", data=home / "d", cache=home / "c")
    context = ProviderContext(paths=paths, reporter=RecordingReporter(), cluster=cluster)
    return SshProvider(context, hosts, configuration=())


ONE = cluster_of("dev", Host(address="a"), Host(address="b"))
SPEC = MachineSpec(cluster="dev", node="cp1")


@pytest.fixture
def provider(hosts: FakeHosts, tmp_path: Path) -> SshProvider:
    return provider_of(hosts, tmp_path, ONE)


def unreachable(what: str = "no route") -> UnreachableError:
    return UnreachableError("node cannot be reached", why=what, hint="look")


def warnings(provider: SshProvider) -> list[str]:
    reporter = provider.context.reporter
    assert isinstance(reporter, RecordingReporter)
    return [message.text for message in reporter.of(Message) if message.level == "warning"]


class TestConformance(ProviderConformance):
    @pytest.fixture
    def subject(self, hosts: FakeHosts, tmp_path: Path) -> Iterator[Subject]:
        hosts.facts["b"] = {"arrived": "10.0.0.1 5000 10.0.0.6 22"}
        clusters = {"dev": ONE, "dev-2": cluster_of("dev-2", Host(address="c"))}

        def answers(machine: Machine) -> bool:
            return machine.address in ("10.0.0.5", "10.0.0.6")

        yield Subject(
            open=lambda name: provider_of(hosts, tmp_path, clusters[name]),
            cluster="dev",
            other="dev-2",
            nodes=("cp1", "w1"),
            answers=answers,
        )
        for name, cluster in clusters.items():
            for node in cluster.nodes:
                provider_of(hosts, tmp_path, cluster).delete(name, node.name)
        assert not [path for path in hosts.root.rglob("*") if path.is_file()]
        assert [path.name for path in (tmp_path / "d/ssh").glob("*")] in ([], ["lock"])


def test_a_host_is_marked_with_owner(
    provider: SshProvider, hosts: FakeHosts, tmp_path: Path
) -> None:
    provider.create(SPEC)
    marker = json.loads(hosts.marker("a").read_text())
    assert (marker["cluster"], marker["node"], marker["schema"]) == ("dev", "cp1", 1)
    assert hosts.marker("a").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in hosts.marker("a").parent.iterdir()] == ["machine.json"]


@pytest.mark.parametrize(
    "text",
    [
        '{"schema": 1, "cluster": "other", "node": "cp1", "id": "x"}',
        '{"schema": 1, "cluster": "dev", "node": "w1", "id": "x"}',
        '{"schema": 1, "cluster": "dev", "node": "cp1", "id": "of-somebody-else"}',
        "not ours\nat all",
        "",
    ],
)
def test_a_host_of_somebody_else_is_refused_and_left_alone(
    provider: SshProvider, hosts: FakeHosts, tmp_path: Path, text: str
) -> None:
    hosts.marker("a").parent.mkdir(parents=True)
    hosts.marker("a").write_text(text)
    for attempt in (provider.prepare, lambda: provider.create(SPEC)):
        with pytest.raises(LockedError, match="belongs to another"):
            attempt()
    assert list(provider.list("dev")) == []
    provider.delete("dev", "cp1")
    assert hosts.marker("a").read_text() == text
    assert provider.clusters() == []


def test_two_nodes_on_one_host_are_refused(hosts: FakeHosts, tmp_path: Path) -> None:
    cluster = cluster_of("dev", Host(address="a"), Host(address="a"))
    provider = provider_of(hosts, tmp_path, cluster)
    provider.create(SPEC)
    with pytest.raises(LockedError, match="belongs to another"):
        provider.create(replace(SPEC, node="w1"))
    assert [machine.node for machine in provider.list("dev")] == ["cp1"]


def test_a_marker_put_in_between_is_not_replaced(hosts: FakeHosts, tmp_path: Path) -> None:
    class Slow(FakeHosts):
        def run(self, node: str, target: SshTarget, script: str, **more: object) -> str:
            if "mktemp" in script:
                self.marker("a").parent.mkdir(parents=True, exist_ok=True)
                self.marker("a").write_text('{"cluster": "quick", "node": "n", "id": "i"}\n')
            return super().run(node, target, script, **more)  # type: ignore[arg-type]

    provider = provider_of(Slow(tmp_path / "slow"), tmp_path, ONE)
    with pytest.raises(LockedError):
        provider.create(SPEC)
    assert "quick" in (tmp_path / "slow/a/machine.json").read_text()


def test_an_unreachable_host_is_an_error_and_changes_nothing(
    provider: SshProvider, hosts: FakeHosts
) -> None:
    hosts.errors["a"] = unreachable()
    with pytest.raises(UnreachableError):
        provider.prepare()
    with pytest.raises(UnreachableError):
        provider.create(SPEC)
    assert list(provider.list("dev")) == []
    assert provider.clusters() == []


@pytest.mark.parametrize("kind", [UnreachableError, IntegrityError, PrerequisiteError, NodeError])
def test_a_host_that_cannot_be_judged_is_listed_as_unknown_with_the_reason(
    provider: SshProvider, hosts: FakeHosts, kind: type[OhmykubeError]
) -> None:
    made = provider.create(SPEC)
    hosts.errors["a"] = kind("node cannot be judged", why="timed out\ntwice")
    (seen,) = provider.list("dev")
    problem = "node cannot be judged: timed out: twice"
    unknown = replace(made, state=MachineState.UNKNOWN, ssh=None, arch="", problem=problem)
    assert seen == unknown
    for act in (provider.start, provider.stop):
        with pytest.raises(ProviderError, match="provider ssh cannot") as error:
            act("dev", "cp1")
        assert error.value.why == problem
    with pytest.raises(kind):
        provider.delete("dev", "cp1")
    assert provider.clusters() == ["dev"]
    del hosts.errors["a"]
    provider.delete("dev", "cp1")
    assert not hosts.marker("a").exists()


@pytest.mark.parametrize("kind", [UnreachableError, NodeError, Interrupted])
def test_the_identity_is_kept_while_its_marker_may_be_on_a_host(
    tmp_path: Path, kind: type[OhmykubeError]
) -> None:
    """Whatever fails once the marker was sent: the next run goes on, and `delete` takes it off."""

    class Cut(FakeHosts):
        cut = True

        def run(self, node: str, target: SshTarget, script: str, **more: object) -> str:
            output = super().run(node, target, script, **more)  # type: ignore[arg-type]
            if self.cut and host_facts.PUT_MARKER_SCRIPT in script:
                raise kind("the answer was lost")
            return output

    hosts = Cut(tmp_path / "cut")
    with pytest.raises(kind):
        provider_of(hosts, tmp_path, ONE).create(SPEC)
    marker = hosts.marker("a").read_text()
    assert provider_of(hosts, tmp_path, None).clusters() == ["dev"]
    hosts.cut = False
    assert provider_of(hosts, tmp_path, ONE).create(SPEC).state is MachineState.RUNNING
    assert hosts.marker("a").read_text() == marker
    hosts.marker("a").unlink()
    hosts.cut = True
    with pytest.raises(kind):
        provider_of(hosts, tmp_path, ONE).create(SPEC)
    provider_of(hosts, tmp_path, None).delete("dev", "cp1")
    assert not hosts.marker("a").exists()


def test_a_host_is_forgotten_without_being_asked(provider: SshProvider, hosts: FakeHosts) -> None:
    provider.create(SPEC)
    hosts.errors["a"] = unreachable()
    asked = len(hosts.seen)
    provider.forget("dev", "cp1")
    assert (len(hosts.seen), provider.clusters()) == (asked, [])
    assert hosts.marker("a").exists()


def test_another_host_for_a_node_that_is_set_up_is_refused(
    provider: SshProvider, hosts: FakeHosts, tmp_path: Path
) -> None:
    made = provider.create(SPEC)
    moved = provider_of(hosts, tmp_path, cluster_of("dev", Host(address="z"), Host(address="b")))
    for attempt in (moved.prepare, lambda: moved.create(SPEC)):
        with pytest.raises(LockedError, match="is on host a already"):
            attempt()
    assert list(moved.list("dev")) == [made]
    moved.delete("dev", "cp1")
    assert not hosts.marker("a").exists()


def test_delete_does_not_need_the_cluster_file(
    provider: SshProvider, hosts: FakeHosts, tmp_path: Path
) -> None:
    provider.create(SPEC)
    later = provider_of(hosts, tmp_path, None)
    assert [machine.node for machine in later.list("dev")] == ["cp1"]
    later.delete("dev", "cp1")
    assert not hosts.marker("a").exists()
    later.prepare()
    assert later.preflight() == {}


def test_hosts_are_judged_before_any_is_touched(provider: SshProvider, hosts: FakeHosts) -> None:
    hosts.facts["a"] = {"python": "", "module_br_netfilter": ""}
    hosts.facts["b"] = {"listening": "280A"}
    with pytest.raises(PrerequisiteError) as error:
        provider.prepare()
    assert error.value.why is not None
    assert error.value.why.splitlines() == [
        "cp1: Python 3.8 or later: there is no python3",
        "w1: ports of Kubernetes: in use: 10250",
    ]
    assert error.value.hint
    assert warnings(provider) == ["cp1: kernel module br_netfilter: not in this kernel"]
    with pytest.raises(PrerequisiteError):
        provider.create(SPEC)
    assert not hosts.root.exists() or not list(hosts.root.rglob("machine.json"))


def test_hosts_that_are_set_up_are_not_judged_again(
    provider: SshProvider, hosts: FakeHosts
) -> None:
    for node in ("cp1", "w1"):
        provider.create(replace(SPEC, node=node))
    hosts.facts["a"] = {"listening": "192B 280A"}
    looks = len(hosts.seen)
    provider.prepare()
    assert len(hosts.seen) == looks
    assert provider.create(SPEC).state is MachineState.RUNNING
    checks = provider.preflight()["cp1"]
    assert all(check.status is CheckStatus.OK for check in checks)


def test_a_host_without_python_is_found_although_an_earlier_run_was_killed(
    provider: SshProvider, hosts: FakeHosts, tmp_path: Path
) -> None:
    provider._records.register("dev", "cp1", Host(address="a"))
    assert list(provider.list("dev")) == []
    hosts.facts["a"] = {"python": "2.7"}
    with pytest.raises(PrerequisiteError):
        provider.prepare()


def test_no_host_no_options(hosts: FakeHosts, tmp_path: Path) -> None:
    provider = provider_of(hosts, tmp_path, cluster_of("dev", None))
    for attempt in (provider.prepare, lambda: provider.create(SPEC)):
        with pytest.raises(ConfigError, match="has no host"):
            attempt()
    with pytest.raises(ConfigError, match="has no host"):
        provider.create(replace(SPEC, cluster="unknown"))
    with pytest.raises(ConfigError, match="options of provider ssh"):
        provider_of(hosts, tmp_path, replace(ONE, provider_options={"x": 1}))


def test_start_of_an_unknown_node(provider: SshProvider) -> None:
    with pytest.raises(NotFoundError):
        provider.start("dev", "cp1")


def test_pinned_keys(hosts: FakeHosts, tmp_path: Path) -> None:
    cluster = cluster_of(
        "dev", Host(address="a", host_key=KEY), Host(address="b", port=2222, host_key=KEY)
    )
    provider = provider_of(hosts, tmp_path, cluster)
    machine = provider.create(SPEC)
    expected = f"[b]:2222 {KEY}\na {KEY}\n"
    assert machine.ssh is not None
    assert machine.ssh.known_hosts is not None
    assert machine.ssh.known_hosts.read_text() == expected
    assert {trusted for _, trusted in hosts.seen} == {expected}
    provider.delete("dev", "cp1")
    assert not machine.ssh.known_hosts.exists()


def test_without_a_pinned_key_the_users_file_counts(
    provider: SshProvider, hosts: FakeHosts
) -> None:
    machine = provider.create(SPEC)
    assert machine.ssh is not None
    assert machine.ssh.known_hosts is None
    assert {trusted for _, trusted in hosts.seen} == {""}


@pytest.mark.parametrize("key", ["", "AAAA", "ssh-ed25519", "ssh-ed25519 A\nevil", "* ssh-rsa A"])
def test_a_host_key_that_is_none_is_refused(hosts: FakeHosts, tmp_path: Path, key: str) -> None:
    provider = provider_of(hosts, tmp_path, cluster_of("dev", Host(address="a", host_key=key)))
    with pytest.raises(ConfigError, match="no public key"):
        provider.create(SPEC)


@pytest.mark.parametrize(
    ("host", "facts", "address"),
    [
        (Host(address="a"), {}, "10.0.0.5"),
        (Host(address="a", node_ip="10.0.0.5"), {"arrived": "1 2 10.9.9.9 4"}, "10.0.0.5"),
        (Host(address="a"), {"arrived": "127.0.0.1 1 127.0.0.1 22"}, "10.0.0.5"),
        (Host(address="10.1.1.1"), {"arrived": "", "route": ""}, "10.1.1.1"),
        (Host(address="name"), {"arrived": "x", "route": ""}, "name"),
        (Host(address="name"), {"arrived": "1 2 $(touch 3) 4", "route": "; x"}, "name"),
    ],
)
def test_the_address_for_other_nodes(
    hosts: FakeHosts, tmp_path: Path, host: Host, facts: dict[str, str], address: str
) -> None:
    hosts.facts[host.address] = facts
    assert provider_of(hosts, tmp_path, cluster_of("dev", host)).create(SPEC).address == address


def test_a_damaged_record_is_said(provider: SshProvider, tmp_path: Path) -> None:
    provider.create(SPEC)
    for content in ("{", '{"schema": 7}', "[]"):
        (tmp_path / "d/ssh/dev/nodes/cp1.json").write_text(content)
        with pytest.raises(IntegrityError, match="damaged"):
            provider.delete("dev", "cp1")


def test_the_key_file_survives_the_record(hosts: FakeHosts, tmp_path: Path) -> None:
    host = Host(address="a", identity_file=Path("/k"), become=True, user="ops")
    provider_of(hosts, tmp_path, cluster_of("dev", host)).create(SPEC)
    provider_of(hosts, tmp_path, None).delete("dev", "cp1")
    target = hosts.seen[-1][0]
    assert (target.identity_file, target.become, target.user) == (Path("/k"), True, "ops")


class TestJudgement:
    @pytest.mark.parametrize(
        ("facts", "id", "status"),
        [
            ({}, "root", CheckStatus.OK),
            ({"uid": "1000"}, "root", CheckStatus.FAIL),
            ({"machine": "riscv64"}, "architecture", CheckStatus.FAIL),
            ({"python": "3.7"}, "python", CheckStatus.FAIL),
            ({"python": "3.8"}, "python", CheckStatus.OK),
            ({"python": ""}, "python", CheckStatus.FAIL),
            ({"systemd": ""}, "systemd", CheckStatus.FAIL),
            ({"cpus": "1"}, "cpus", CheckStatus.WARN),
            ({"cpus": "lots"}, "cpus", CheckStatus.WARN),
            ({"memory_kib": str(1600 << 10)}, "memory", CheckStatus.WARN),
            ({"disk_kib": "1000"}, "disk", CheckStatus.WARN),
            ({"swaps": "1"}, "swap", CheckStatus.WARN),
            ({"module_overlay": ""}, "module-overlay", CheckStatus.FAIL),
            ({"module_br_netfilter": ""}, "module-br-netfilter", CheckStatus.WARN),
            ({"system": "arch"}, "distribution", CheckStatus.WARN),
            ({"system": ""}, "distribution", CheckStatus.WARN),
            ({"listening": "192B"}, "ports", CheckStatus.FAIL),
            ({"listening": "192C"}, "ports", CheckStatus.OK),
        ],
    )
    def test_each_fact(self, facts: dict[str, str], id: str, status: CheckStatus) -> None:
        checks = preflight.checks_of(
            ONE.nodes[0], host_facts.Facts(values=GOOD | facts), ours=False
        )
        (check,) = [check for check in checks if check.id == f"cp1-{id}"]
        assert check.status is status
        assert check.evidence
        others = [c for c in checks if c is not check]
        assert all(other.status is CheckStatus.OK for other in others)

    @pytest.mark.parametrize(
        ("packager", "fix"),
        [
            ("apt-get", "apt-get install python3"),
            ("dnf", "dnf install python3"),
            ("zypper", "zypper install python3"),
            ("pacman", "pacman -S python"),
            ("", "install Python 3"),
        ],
    )
    def test_what_is_missing_is_installed_as_that_host_does_it(
        self, packager: str, fix: str
    ) -> None:
        facts = host_facts.Facts(values=GOOD | {"python": "", "packager": packager})
        checks = preflight.checks_of(ONE.nodes[0], facts, ours=False)
        (found,) = [check for check in checks if check.id == "cp1-python"]
        assert found.fix == f"{fix}  (on that host)"

    def test_a_worker_needs_fewer_ports(self) -> None:
        facts = host_facts.Facts(values=GOOD | {"listening": "192B"})
        checks = preflight.checks_of(ONE.nodes[1], facts, ours=False)
        assert all(check.status is CheckStatus.OK for check in checks)

    @pytest.mark.parametrize(("ip", "ok"), [("10.0.0.5", True), ("10.0.0.6", False)])
    def test_the_wished_address_must_be_there(self, ip: str, ok: bool) -> None:
        node = replace(ONE.nodes[0], host=Host(address="a", node_ip=ip))
        checks = preflight.checks_of(node, host_facts.Facts(values=GOOD), ours=True)
        (found,) = [check for check in checks if check.id == "cp1-node-ip"]
        assert (found.status is CheckStatus.OK) is ok

    @pytest.mark.parametrize(
        ("ips", "one_card", "ok"),
        [
            ("10.0.0.5,fd00::5", True, True),
            ("10.0.0.5,fd00::6", True, False),
            ("fd00::6,10.0.0.5", True, False),
            ("10.0.0.5,fd00::6", False, True),
            ("fd00::6", True, True),
        ],
    )
    def test_flannel_wants_both_families_on_one_interface(
        self, ips: str, one_card: bool, ok: bool
    ) -> None:
        cards = "10.0.0.5=eth0 fd00::5=eth0 fd00::6=eth1"
        facts = host_facts.Facts(
            values=GOOD | {"cards": cards, "addresses": "10.0.0.5 fd00::5 fd00::6"}
        )
        node = replace(ONE.nodes[0], host=Host(address="a", node_ip=ips))
        checks = preflight.checks_of(node, facts, ours=True, one_card=one_card)
        assert all(check.status is CheckStatus.OK for check in checks) is ok
        assert ok or "fd00::6 is on eth1" in checks[-1].evidence

    @pytest.mark.parametrize(
        ("unrouted", "says"),
        [
            ("", None),
            ("10.96.0.1", "ip -4 route add default"),
            ("fd00:10:96::1", "ip -6 route add default"),
            ("fd00:10:96::1 10.96.0.1", "ip -6 route add default"),
        ],
    )
    def test_a_host_needs_a_way_to_services(self, unrouted: str, says: str | None) -> None:
        """Of each family: without a route the kernel refuses before kube-proxy sees a packet."""
        facts = host_facts.Facts(values=GOOD | {"unrouted": unrouted})
        found = [c for c in preflight.checks_of(ONE.nodes[1], facts, ours=True) if c.fix]
        assert [check.status for check in found] == [CheckStatus.FAIL] * (says is not None)
        assert all(says and says in check.fix for check in found)

    @pytest.mark.parametrize(
        ("network", "asked"),
        [
            (Network(), ["10.96.0.1"]),
            (Network(service_cidr="fd00:96::/112,10.1.0.0/20"), ["fd00:96::1", "10.1.0.1"]),
            (Network(service_cidr="auto"), []),
            (Network(cni="cilium"), []),
            (Network(cni="none"), []),
        ],
    )
    def test_which_routes_are_looked_for(
        self, hosts: FakeHosts, tmp_path: Path, network: Network, asked: list[str]
    ) -> None:
        provider = provider_of(hosts, tmp_path, replace(ONE, network=network))
        provider.create(SPEC)
        (script, *_) = hosts.scripts
        assert f"SERVICES={shlex.quote(' '.join(asked))}\n" in script

    @pytest.mark.linux
    def test_a_host_says_where_it_has_no_route(self) -> None:
        """Of the addresses that are asked for; this machine has one to itself."""
        script = host_facts.script(host_facts.FACTS_SCRIPT, SERVICES="127.0.0.1 no-address")
        script = script.replace(host_facts.MARKER, "/nonexistent")
        facts = host_facts.parse(process.run(["sh", "-s"], timeout=20, input=script).stdout)
        assert facts.text("unrouted") == "no-address"

    @pytest.mark.linux
    def test_facts_of_this_machine(self) -> None:
        script = host_facts.script(host_facts.FACTS_SCRIPT).replace(
            host_facts.MARKER, "/nonexistent"
        )
        facts = host_facts.parse(process.run(["sh", "-s"], timeout=20, input=script).stdout)
        assert facts.marker is None
        assert facts.number("cpus")
        assert facts.number("memory_kib")
        assert "127.0.0.1" in facts.addresses
        assert facts.text("python").startswith("3.")


class TestOpenSsh:
    """The real runner with a program called ssh that we wrote."""

    @pytest.fixture
    def fake(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        program = tmp_path / "bin/ssh"
        program.parent.mkdir()
        lines = [
            "#!/bin/sh",
            f'printf "%s\\n" "$@" >{tmp_path}/args',
            f'cat "$2" >{tmp_path}/config',
            f'cat "$(dirname "$2")/known_hosts" >{tmp_path}/known 2>/dev/null',
            f"cat >{tmp_path}/stdin",
            'eval "$FAKE"',
        ]
        program.write_text("\n".join(lines) + "\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        return tmp_path

    def call(self, *, become: bool = False, trusted: str = "") -> str:
        target = SshTarget(address="h", user="ops", become=become)
        return OpenSsh().run("n", target, "echo hi\n", trusted=trusted, timeout=60)

    def test_the_script_goes_over_standard_input(
        self, fake: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE", f"sh -s <{fake}/stdin")
        assert self.call(become=True, trusted="h ssh-ed25519 A\n") == "hi\n"
        assert (fake / "known").read_text() == "h ssh-ed25519 A\n"
        arguments = (fake / "args").read_text().splitlines()
        assert arguments[-3:-1] == ["n", "--"]
        assert arguments[-1].startswith("exec sudo -n -- env")
        assert not Path(arguments[1]).exists(), "the temporary configuration is gone"
        assert "UserKnownHostsFile" in (fake / "config").read_text()

    @pytest.mark.parametrize("noise", NOISE)
    def test_what_the_login_shell_prints_is_no_output_of_ours(
        self, fake: Path, monkeypatch: pytest.MonkeyPatch, noise: bytes
    ) -> None:
        (fake / "noise").write_bytes(noise)
        monkeypatch.setenv("FAKE", f"cat {fake}/noise; sh -s <{fake}/stdin")
        assert self.call() == "hi\n"

    @pytest.mark.parametrize(
        ("script", "kind", "text"),
        [
            ("echo 'Connection refused' >&2; exit 255", UnreachableError, "cannot be reached"),
            ("echo 'sudo: a password is required' >&2; exit 1", PrerequisiteError, "sudo on"),
            ("echo 'sh: 1: exec: sudo: not found' >&2; exit 127", PrerequisiteError, "sudo on"),
            (
                "echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1",
                PrerequisiteError,
                "wants a terminal",
            ),
            (
                "echo 'ops is not in the sudoers file.' >&2; echo 'sudo: x' >&2; exit 1",
                PrerequisiteError,
                "does not know the user",
            ),
            (
                "echo 'Sorry, user ops is not allowed to execute sudo' >&2; exit 1",
                PrerequisiteError,
                "does not let the user",
            ),
            (
                "echo 'sudo: PAM account management error' >&2; exit 1",
                PrerequisiteError,
                "does not work",
            ),
            ("echo boom >&2; exit 3", NodeError, "command failed"),
            ("exit 3", NodeError, "command failed"),
            ("echo Welcome; exit 0", NodeError, "does not run commands"),
            (
                "echo 'REMOTE HOST IDENTIFICATION HAS CHANGED' >&2; exit 255",
                IntegrityError,
                "not the one expected",
            ),
        ],
    )
    def test_failures(
        self,
        fake: Path,
        monkeypatch: pytest.MonkeyPatch,
        script: str,
        kind: type[OhmykubeError],
        text: str,
    ) -> None:
        monkeypatch.setenv("FAKE", script)
        with pytest.raises(kind, match=text):
            self.call(become=True)


def test_check_needs_ssh(provider: SshProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [check.status for check in provider.check()] == [CheckStatus.OK]
    monkeypatch.setenv("PATH", "/nonexistent")
    (found,) = provider.check()
    assert (found.status, found.packages) == (CheckStatus.FAIL, ("openssh-client",))


def test_each_host_tells_its_architecture_and_is_asked_once(
    hosts: FakeHosts, tmp_path: Path
) -> None:
    hosts.facts["10.0.0.2"] = {"machine": "aarch64"}
    cluster = cluster_of("dev", Host(address="10.0.0.1"), Host(address="10.0.0.2"))
    provider = provider_of(hosts, tmp_path, cluster)
    assert provider.architectures(["cp1", "w1"]) == {"cp1": "amd64", "w1": "arm64"}
    asked = len(hosts.seen)
    assert provider.architectures(["w1"]) == {"w1": "arm64"}
    assert len(hosts.seen) == asked
    assert not hosts.marker("10.0.0.1").exists()
    made = [provider.create(MachineSpec(cluster="dev", node=node)) for node in ("cp1", "w1")]
    assert [machine.arch for machine in made] == ["amd64", "arm64"]
    again = provider_of(hosts, tmp_path, cluster)
    assert [machine.arch for machine in again.list("dev")] == ["amd64", "arm64"]
    asked = len(hosts.seen)
    assert again.architectures(["cp1", "w1"]) == {"cp1": "amd64", "w1": "arm64"}
    assert len(hosts.seen) == asked, "what `list` found out is asked for again"


def test_a_host_that_cannot_be_asked_has_no_architecture(hosts: FakeHosts, tmp_path: Path) -> None:
    hosts.errors["10.0.0.1"] = UnreachableError("10.0.0.1 is silent")
    provider = provider_of(hosts, tmp_path, cluster_of("dev", Host(address="10.0.0.1")))
    with pytest.raises(UnreachableError, match="silent"):
        provider.architectures(["cp1"])
