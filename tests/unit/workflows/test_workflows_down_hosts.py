"""`down` and `up` over hosts that stay: each leaves its cluster reset, or at the user's word."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.ansible import launch
from ohmykube.ansible.events import HostStats
from ohmykube.ansible.launch import Outcome, PlaybookStatus, TaskFailure
from ohmykube.config import load
from ohmykube.errors import (
    ConfigError,
    IntegrityError,
    LockedError,
    NodeError,
    OhmykubeError,
    PrerequisiteError,
    UnreachableError,
)
from ohmykube.kit import files, paths
from ohmykube.model import change
from ohmykube.progress import Message
from ohmykube.providers.base import ProviderContext
from ohmykube.providers.ssh import host_facts
from ohmykube.providers.ssh.provider import SshProvider
from ohmykube.state import layout
from ohmykube.steps.connect_nodes import connect_nodes
from ohmykube.steps.context import Services
from ohmykube.steps.delete_nodes import delete_nodes
from ohmykube.steps.plan import make_plan
from ohmykube.steps.run_playbook import NODE_REMOVE
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import session
from ohmykube.workflows.down import down
from ohmykube.workflows.status import status
from ohmykube.workflows.up import up
from ohmykube.workflows.up_values import UpOptions
from tests.unit.workflows.begun_run import begin, end

if TYPE_CHECKING:
    from ohmykube.ansible.launch import PlaybookRun
    from ohmykube.model.cluster import Cluster
    from ohmykube.model.machine import SshTarget
    from ohmykube.progress import Reporter

pytestmark = pytest.mark.usefixtures("world")

FACTS = """\
uid=0
machine=x86_64
python=3.11
systemd=yes
cpus=4
memory_kib=8000000
disk_kib=90000000
swaps=0
module_overlay=yes
module_br_netfilter=yes
system=debian 12
"""
OTHERS = '{"schema": 1, "cluster": "other", "node": "w9", "id": "zz"}'
NODES = {"cp1": "192.0.2.1", "w1": "192.0.2.2", "w2": "192.0.2.3"}


@dataclass
class Hosts:
    """Hosts by address: the marker on each, whether our kubelet runs there, what goes wrong."""

    markers: dict[str, str] = field(default_factory=dict)
    kubelets: set[str] = field(default_factory=set)
    errors: dict[str, OhmykubeError] = field(default_factory=dict)
    not_reset: set[str] = field(default_factory=set)
    """Hosts on which the playbook fails."""
    plays: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def run(
        self, node: str, target: SshTarget, script: str, *, trusted: str, timeout: float
    ) -> str:
        address = target.address
        if address in self.errors:
            raise self.errors[address]
        second = script.splitlines()[1]
        content = "".join(shlex.split(second.removeprefix("CONTENT=")))
        if host_facts.PUT_MARKER_SCRIPT in script:
            return self.markers.setdefault(address, content) + "\n"
        if host_facts.REMOVE_MARKER_SCRIPT in script:
            if self.markers.get(address) == content:
                del self.markers[address]
            return ""
        marker = [f"marker={self.markers[address]}\n"] if address in self.markers else []
        return "".join([f"route={address}\n", FACTS, *marker])

    def play(self, asked: PlaybookRun, _reporter: Reporter) -> Outcome:
        """Reset hosts as far as it goes, or take nodes out of the cluster."""
        limit = frozenset(asked.limit)
        self.plays.append((asked.playbook, limit))
        failures = []
        for name in sorted(limit):
            address = NODES[name]
            if address in self.errors:
                failures.append(TaskFailure(host=name, task="x", message="no", unreachable=True))
            elif address in self.not_reset:
                failures.append(TaskFailure(host=name, task="Reset", message="busy"))
            else:
                self.kubelets.discard(address)
        status = PlaybookStatus.FAILED if failures else PlaybookStatus.OK
        stats = {name: HostStats(ok=1) for name in limit}
        return Outcome(status=status, failures=tuple(failures), stats=stats)


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Give the hosts, and let the provider and the playbooks reach them."""
    found = Hosts()

    class Provider(SshProvider):
        def __init__(self, context: ProviderContext) -> None:
            super().__init__(context, found, configuration=())

    def provider(services: Services, _name: str, cluster: Cluster | None) -> SshProvider:
        context = ProviderContext(paths=services.paths, reporter=services.reporter, cluster=cluster)
        return Provider(context)

    monkeypatch.setattr(session, "provider_of", provider)
    monkeypatch.setattr(launch, "run", found.play)
    return found


@pytest.fixture
def services() -> Services:
    return Services(paths=paths.from_environment(), reporter=RecordingReporter())


def described(**nodes: str) -> Cluster:
    """Return a cluster of nodes at addresses; the first is the control plane."""
    (first, *others) = [{"name": name, "address": at} for name, at in nodes.items()]
    document: dict[str, Any] = {
        "metadata": {"name": "dev"},
        "spec": {
            "provider": {"name": "ssh"},
            "nodes": {"controlPlane": {"hosts": [first]}, "workers": {"hosts": others}},
        },
    }
    return load.from_document(document)


def half_up(services: Services, cluster: Cluster) -> None:
    with session.working(services, cluster) as ctx:
        begin(ctx)


def whole_up(services: Services, hosts: Hosts, cluster: Cluster) -> None:
    half_up(services, cluster)
    with session.working(services, cluster) as ctx:
        end(ctx)
        files.write(
            ctx.directory / layout.SSH_CONFIG,
            "".join(f"Host {node.name}\n" for node in cluster.nodes),
        )
    hosts.kubelets |= {node.host.address for node in cluster.nodes if node.host is not None}


def warnings(services: Services) -> list[str]:
    reporter = services.reporter
    assert isinstance(reporter, RecordingReporter)
    return [one.text for one in reporter.of(Message) if one.level == "warning"]


def silent() -> UnreachableError:
    return UnreachableError("it cannot be reached by ssh", why="timed out")


def another_key() -> IntegrityError:
    return IntegrityError("its host key is not the one expected", why="it was installed anew")


def no_sudo() -> PrerequisiteError:
    return PrerequisiteError("sudo does not work without a password", why="a password is required")


LOST = {"silent": silent, "another key": another_key, "no sudo": no_sudo}


def into(hosts: Hosts, address: str, fault: str) -> None:
    """Bring a host into a state."""
    if fault in LOST:
        hosts.errors[address] = LOST[fault]()
    elif fault == "not reset":
        hosts.not_reset.add(address)
    elif fault == "taken since":
        hosts.markers[address] = OTHERS
        hosts.kubelets.discard(address)


@pytest.mark.parametrize(
    "faults",
    [
        *itertools.product(("well", "silent", "not reset"), repeat=3),
        *itertools.permutations(("well", "another key", "taken since")),
        ("no sudo", "well", "well"),
        ("taken since", "taken since", "taken since"),
    ],
)
def test_a_host_leaves_when_it_was_reset_or_is_said_to_be_forgotten(
    services: Services, hosts: Hosts, faults: tuple[str, ...]
) -> None:
    """Down resets what answers, names what does not; repeated, it ends with nothing of ours."""
    whole_up(services, hosts, described(**NODES))
    at = dict(zip(NODES, faults, strict=True))
    for node, fault in at.items():
        into(hosts, NODES[node], fault)
    kept = {node for node, fault in at.items() if fault in LOST or fault == "not reset"}
    lost = {node for node in kept if at[node] in LOST}
    if kept:
        for _ in range(2):
            with pytest.raises(UnreachableError if lost else NodeError) as caught:
                down(services, "dev")
            told = str(caught.value.why).splitlines()
            assert {line.split(":")[0] for line in told} == kept
            assert ("--forget-unreachable" in str(caught.value.hint)) is bool(lost)
            assert hosts.kubelets == {NODES[node] for node in kept}
            assert {a for a, one in hosts.markers.items() if one != OTHERS} == hosts.kubelets
    hosts.not_reset.clear()
    result = down(services, "dev", forget_unreachable=True)
    assert set(result.forgotten) == lost
    assert len(warnings(services)) == len(lost)
    assert hosts.kubelets == {NODES[node] for node in lost}
    assert services.state.names() == ()
    assert not (services.paths.data / "ssh" / "dev").exists()
    assert not down(services, "dev").existed


@pytest.mark.parametrize("fault", LOST)
def test_a_host_that_comes_back_is_reset(services: Services, hosts: Hosts, fault: str) -> None:
    whole_up(services, hosts, described(**NODES))
    into(hosts, NODES["w2"], fault)
    with pytest.raises(UnreachableError):
        down(services, "dev")
    hosts.errors.clear()
    assert down(services, "dev").removed == ("w2",)
    assert (hosts.markers, hosts.kubelets, services.state.names()) == ({}, set(), ())


@pytest.mark.parametrize("refused", ["taken", "silent"])
def test_a_half_made_cluster_can_be_removed(services: Services, hosts: Hosts, refused: str) -> None:
    """Whatever ended it: hosts that were marked are reset, the others were never its own."""
    if refused == "taken":
        hosts.markers[NODES["w1"]] = OTHERS
    else:
        hosts.errors[NODES["w1"]] = silent()
    with pytest.raises((LockedError, UnreachableError)):
        half_up(services, described(**NODES))
    assert down(services, "dev").removed == ("cp1", "w2")
    assert set(hosts.markers.values()) <= {OTHERS}
    assert services.state.names() == ()
    assert not (services.paths.data / "ssh" / "dev").exists()


@pytest.mark.parametrize("damage", ["{", None], ids=["damaged", "lost"])
def test_hosts_are_found_without_the_record(
    services: Services, hosts: Hosts, damage: str | None
) -> None:
    whole_up(services, hosts, described(**NODES))
    directory = services.state.directory("dev")
    for name in (layout.RECORD, layout.RECORD_BACKUP):
        (directory / name).unlink(missing_ok=True)
    if damage is not None:
        (directory / layout.RECORD).write_text(damage)
    assert set(down(services, "dev").removed) == set(NODES)
    assert (hosts.markers, hosts.kubelets, services.state.names()) == ({}, set(), ())


def test_hosts_of_what_an_older_release_described_are_reset(
    services: Services, hosts: Hosts
) -> None:
    whole_up(services, hosts, described(**NODES))
    refused = {"spec": {"kubernetes": {"version": "1.20.0"}, "provider": {"name": "ssh"}}}
    services.state.update("dev", lambda record: replace(record, document=refused))
    down(services, "dev")
    assert (hosts.markers, hosts.kubelets) == ({}, set())


def test_a_host_that_is_described_no_more_is_reset_before_it_leaves(
    services: Services, hosts: Hosts
) -> None:
    whole_up(services, hosts, described(**NODES))
    fewer = described(cp1=NODES["cp1"], w1=NODES["w1"])
    (gone,) = up(services, fewer, UpOptions(plan_only=True)).plan.changes
    assert isinstance(gone, change.DeleteNode)
    half_up(services, fewer)  # killed before it came to that
    down(services, "dev")
    assert (hosts.markers, hosts.kubelets) == ({}, set())


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_host_is_taken_out_of_a_cluster_only_as_the_user_says(
    services: Services, hosts: Hosts, fault: str
) -> None:
    whole_up(services, hosts, described(**NODES))
    into(hosts, NODES["w2"], fault)
    fewer = described(cp1=NODES["cp1"], w1=NODES["w1"])
    agreed = UpOptions(may_delete=None)
    with pytest.raises(UnreachableError, match="cannot be reset: w2") as caught:
        up(services, fewer, agreed)
    assert "--forget-unreachable" in str(caught.value.hint)
    assert hosts.plays == []
    assert NODES["w2"] in hosts.markers
    with session.working(services, fewer) as ctx:
        observed, plan = make_plan(ctx)
        nodes = connect_nodes(ctx, observed.machines, frozenset())
        delete_nodes(ctx, plan, nodes, forget_unreachable=True)
    assert hosts.plays == [(NODE_REMOVE, frozenset())], "it takes no host with it that answers"
    assert [text for text in warnings(services) if "w2 is forgotten" in text]
    assert down(services, "dev").forgotten == ()


@pytest.mark.parametrize("record", ["kept", "lost"])
def test_another_address_forgets_no_host(services: Services, hosts: Hosts, record: str) -> None:
    """A node stays on the host that it was set up on, whatever is described or recorded."""
    whole_up(services, hosts, described(**NODES))
    moved = described(**{**NODES, "w2": "192.0.2.9"})
    if record == "lost":
        services.state.remove("dev")
    with pytest.raises((ConfigError, LockedError), match=r"cannot be changed|is on host"):
        half_up(services, moved)
    assert "192.0.2.9" not in hosts.markers
    down(services, "dev")
    assert (hosts.markers, hosts.kubelets) == ({}, set())


@pytest.mark.parametrize("fault", LOST)
def test_a_machine_that_cannot_be_judged_is_unknown_with_the_reason(
    services: Services, hosts: Hosts, fault: str
) -> None:
    whole_up(services, hosts, described(**NODES))
    into(hosts, NODES["w1"], fault)
    error = LOST[fault]()
    reason = f"{error.message}: {error.why}"
    found = {node.name: node for node in status(services, "dev").nodes}
    assert (found["w1"].machine, found["w1"].detail) == ("unknown", reason)
    assert found["w1"].address == NODES["w1"]
    assert {found[name].machine for name in ("cp1", "w2")} == {"running"}
    plan = up(services, described(**NODES), UpOptions(plan_only=True)).plan
    assert change.ReachNode(node="w1", problem=reason) in plan.changes
    with pytest.raises(type(error), match=error.message):
        up(services, described(**NODES), UpOptions())
    for address in NODES.values():
        into(hosts, address, fault)
    assert status(services, "dev").health == "unreachable"
