"""Two runs of `up` with another value of one field in between, for every field of the schema.

After it, file, record and cluster agree, and the cluster is what a new one of that file would be;
or the change was refused and nothing touched. The machines are the fake provider's, Kubernetes is
``kubernetes_double``.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import enum
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.addons import selection
from ohmykube.ansible import inventory, variables
from ohmykube.cache import resolve
from ohmykube.cache.store import Store
from ohmykube.config import load, schema_paths
from ohmykube.config.document import to_document
from ohmykube.config.mutability import Mutability
from ohmykube.errors import ConfigError
from ohmykube.kit import paths
from ohmykube.model import change
from ohmykube.model.node_state import NodeState
from ohmykube.planning.scope import nodes_in, scope_of
from ohmykube.providers.base import ProviderContext
from ohmykube.state import layout
from ohmykube.steps import node_digests
from ohmykube.steps.context import Context, Services
from ohmykube.steps.create_nodes import create_nodes
from ohmykube.steps.nodes import Nodes
from ohmykube.steps.observe import ask
from ohmykube.steps.plan import make_plan
from ohmykube.steps.preflight import preflight
from ohmykube.steps.proxy_urls import with_proxy
from ohmykube.steps.registry_logins import with_logins
from ohmykube.steps.write_inventory import removed
from ohmykube.steps.write_record import record_end, record_start
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.reporter import RecordingReporter
from ohmykube.workflows import session
from tests import foreign_addon, node_answers, plenty
from tests.unit.workflows.kubernetes_double import KubernetesDouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ohmykube.model.cluster import Cluster
    from ohmykube.model.machine import Machine
    from ohmykube.state.record import Record

pytestmark = pytest.mark.usefixtures("world")
NAME = "dev"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
FAKE: dict[str, Any] = {
    "provider": {"name": "fake"},
    "nodes": {"controlPlane": {"count": 1}, "workers": {"count": 1}},
}
SSH: dict[str, Any] = {
    "provider": {"name": "ssh"},
    "nodes": {
        "controlPlane": {"hosts": [{"address": "192.0.2.1"}]},
        "workers": {"hosts": [{"address": "192.0.2.2"}]},
    },
}
ADDONS: dict[str, Any] = {**FAKE, "addons": [{"name": foreign_addon.NAME}]}
INVENTORY: dict[str, Any] = {"provider": {"name": "ssh"}}


class Outcome(enum.Enum):
    """What another value comes to."""

    APPLIED = "the cluster has it"
    SETTING = "the record has it, and the cluster is the same"
    NODES = "nodes are added, and those too many go"
    REFUSED = "nothing is touched"
    IDENTITY = "it is no change of this cluster"


ALLOWED = {
    Mutability.LIVE: {Outcome.APPLIED},
    Mutability.NODE_BY_NODE: {Outcome.APPLIED, Outcome.REFUSED},
    Mutability.AT_CREATION: {Outcome.REFUSED},
    Mutability.NODES: {Outcome.NODES, Outcome.REFUSED},
    Mutability.SETTING: {Outcome.SETTING},
    Mutability.IDENTITY: {Outcome.IDENTITY},
}


@dataclass(frozen=True)
class Row:
    """One field with two values; None leaves it out."""

    old: Any
    new: Any
    outcome: Outcome
    base: dict[str, Any] = dataclasses.field(default_factory=lambda: FAKE)


def authority(name: str) -> str:
    """Return the certificate of an authority that is valid for a century."""
    return (Path(__file__).parents[2] / "data" / "trust" / f"{name}.pem").read_text()


APPLIED, SETTING, NODES = Outcome.APPLIED, Outcome.SETTING, Outcome.NODES
REFUSED, IDENTITY = Outcome.REFUSED, Outcome.IDENTITY
_ARGUMENTS = {"apiServer": {"extraArgs": [{"name": "audit-log-maxage", "value": "7"}]}}
_GROUP = {
    "cpus": Row(2, 4, APPLIED),
    "memory": Row("4GiB", "3GiB", APPLIED),
    "disk": Row("20GiB", "30GiB", REFUSED),
    "labels": Row({"e.com/a": "1", "e.com/b": "2"}, {"e.com/b": "3", "e.com/c": ""}, APPLIED),
    "taints": Row(["a=1:NoSchedule", "b:NoExecute"], ["a=2:NoSchedule"], APPLIED),
    "files": Row(
        [{"path": "/etc/a", "content": "1"}],
        [{"path": "/etc/a", "content": "2"}, {"path": "/etc/b", "content": "1"}],
        REFUSED,
    ),
    "hosts.address": Row("192.0.2.8", "192.0.2.9", REFUSED, SSH),
    "hosts.name": Row("one", "other", REFUSED, SSH),
    "hosts.port": Row(22, 2222, SETTING, SSH),
    "hosts.user": Row("root", "me", SETTING, SSH),
    "hosts.identityFile": Row(None, "/keys/id", SETTING, SSH),
    "hosts.jump": Row(None, "me@bastion:22", SETTING, SSH),
    "hosts.become": Row(False, True, SETTING, SSH),
    "hosts.containerdTakeover": Row(False, True, APPLIED, SSH),
    "hosts.hostKey": Row(None, HOST_KEY, SETTING, SSH),
    "hosts.nodeIP": Row(None, "198.51.100.7", REFUSED, SSH),
}
TABLE = {
    "apiVersion": Row("ohmykube.dev/v1", "ohmykube.dev/v2", IDENTITY),
    "kind": Row("Cluster", "Other", IDENTITY),
    "metadata.name": Row(NAME, "other", IDENTITY),
    "spec.kubernetes.version": Row("1.36.3", "1.35.4", REFUSED),
    "spec.provider.name": Row("fake", "nspawn", REFUSED),
    "spec.provider.options": Row({"a": 1}, {"a": 2}, REFUSED),
    "spec.provider.ssh.inventory": Row("one.ini", "two.ini", NODES, INVENTORY),
    "spec.provider.ssh.user": Row("root", "me", SETTING, SSH),
    "spec.provider.ssh.port": Row(22, 2222, SETTING, SSH),
    "spec.provider.ssh.identityFile": Row(None, "/keys/id", SETTING, SSH),
    "spec.provider.ssh.jump": Row(None, "bastion", SETTING, SSH),
    "spec.provider.ssh.become": Row(False, True, SETTING, SSH),
    "spec.nodes.controlPlane.name": Row("cp", "other", REFUSED),
    "spec.nodes.controlPlane.names": Row(["one"], ["one", "two"], NODES),
    "spec.nodes.controlPlane.count": Row(1, 3, NODES),
    "spec.nodes.workers.name": Row("w", "other", NODES),
    "spec.nodes.workers.names": Row(["a", "b"], ["b", "c"], NODES),
    "spec.nodes.workers.count": Row(2, 1, NODES),
    **{f"spec.nodes.controlPlane.{name}": row for name, row in _GROUP.items()},
    **{f"spec.nodes.workers.{name}": row for name, row in _GROUP.items()},
    "spec.network.podCIDR": Row("10.244.0.0/16", "10.9.0.0/16", REFUSED),
    "spec.network.serviceCIDR": Row("10.96.0.0/16", "10.97.0.0/16", REFUSED),
    "spec.network.machineCIDR": Row("auto", "10.77.0.0/24", REFUSED),
    "spec.network.mtu": Row(None, 1400, REFUSED),
    "spec.network.dnsDomain": Row("cluster.local", "k8s.example", REFUSED),
    "spec.network.cni": Row("flannel", "none", REFUSED),
    "spec.network.flannel.backend": Row("vxlan", "host-gw", APPLIED),
    "spec.network.proxyMode": Row("iptables", "nftables", REFUSED),
    "spec.network.apiServerEndpoint": Row(None, "lb.example:6443", REFUSED),
    "spec.network.certSANs": Row([], ["a.example"], REFUSED),
    "spec.network.egress": Row("full", ["10.0.0.0/8", "a.example"], SETTING),
    "spec.network.hostAccess": Row("none", [53, 8080], SETTING),
    "spec.ports": Row(["8080:80"], ["127.0.0.1:5432:30032/tcp", "53:53/udp"], SETTING),
    "spec.kubeadm.initConfiguration": Row({}, {"timeouts": {"etcdAPICall": "1m"}}, REFUSED),
    "spec.kubeadm.joinConfiguration": Row({}, {"timeouts": {"discovery": "1m"}}, REFUSED),
    "spec.kubeadm.clusterConfiguration": Row({}, _ARGUMENTS, REFUSED),
    "spec.kubeadm.kubeletConfiguration": Row({"maxPods": 110}, {"maxPods": 42}, REFUSED),
    "spec.kubeadm.kubeProxyConfiguration": Row({}, {"metricsBindAddress": "0.0.0.0"}, REFUSED),
    "spec.kubeadm.patches": Row([], [{"name": "etcd.yaml", "content": "a: 1"}], REFUSED),
    "spec.addons.name": Row(foreign_addon.NAME, "ping", APPLIED, ADDONS),
    "spec.addons.version": Row("1.0.0", "1.1.0", APPLIED, ADDONS),
    "spec.addons.namespace": Row(None, "elsewhere", REFUSED, ADDONS),
    "spec.addons.values": Row({}, {"text": "good morning"}, APPLIED, ADDONS),
    "spec.artifacts.sources": Row(["upstream"], ["mirror", "upstream"], SETTING),
    "spec.artifacts.mirror": Row(None, "/srv/mirror", SETTING),
    "spec.artifacts.registries": Row({}, {"docker.io": ["https://m.example"]}, SETTING),
    "spec.mounts": Row(
        [{"host": "/etc", "node": "/a"}, {"host": "/usr", "node": "/b", "nodes": "workers"}],
        [{"host": "/etc", "node": "/a", "readOnly": True}, {"host": "/usr", "node": "/b"}],
        REFUSED,
    ),
    "spec.trust": Row([authority("one")], [authority("two")], APPLIED),
    "spec.registries": Row(
        {"docker.io": {"mirrors": ["https://a.example"]}},
        {"docker.io": {"ca": authority("one")}, "r.example:5000": {"plainHTTP": True}},
        APPLIED,
    ),
    "spec.proxy": Row(
        {"http": "http://p.example:1"},
        {"http": "http://p.example:2", "noProxy": ["a.example"]},
        APPLIED,
    ),
    "spec.template": Row("auto", "never", SETTING),
}


class Hosts(FakeProvider):
    """Stands for the provider ssh: the machines are hosts, and their sizes are their own."""

    name = "ssh"


@dataclass
class Place:
    """A host with clusters."""

    services: Services
    kubernetes: KubernetesDouble = dataclasses.field(default_factory=KubernetesDouble)
    configured: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    """On which nodes each playbook was run."""

    @property
    def directory(self) -> Path:
        """The directory of the cluster."""
        return self.services.state.directory(NAME)

    @contextlib.contextmanager
    def opened(self, wanted: Cluster) -> Iterator[Context]:
        """Open as ``up`` does; the provider ssh is replaced."""
        with contextlib.ExitStack() as stack:
            if wanted.provider != "ssh":
                yield stack.enter_context(session.working(self.services, wanted))
                return
            store = self.services.state
            stack.enter_context(store.locked(wanted.name))
            record = store.read(wanted.name)
            recorded = None if record is None else load.from_document(record.document)
            context = ProviderContext(
                paths=self.services.paths, reporter=self.services.reporter, cluster=wanted
            )
            yield Context(
                services=self.services,
                cluster=wanted,
                provider=Hosts(context),
                directory=store.directory(wanted.name),
                run_directory=store.directory(wanted.name),
                record=record,
                recorded=recorded,
            )

    def plan(self, wanted: Cluster) -> change.Plan:
        """Look only."""
        with self.opened(wanted) as ctx:
            return make_plan(ctx, only_look=True)[1]

    def up(self, wanted: Cluster, *, ends: bool = True) -> None:
        """Do all that needs no node; a run that does not end is killed as late as can be."""
        with self.opened(wanted) as ctx:
            preflight(ctx)
            observed, plan = make_plan(ctx)
            record_start(ctx, observed, plan)
            machines = create_nodes(ctx, observed, plan, {})
            store = Store(ctx.services.paths.cache)
            lock = resolve.known(ctx.cluster, selection.release_of(ctx.cluster), store)
            assert lock is not None
            scope = scope_of(plan, ctx.cluster)
            names = tuple(node.name for node in nodes_in(ctx.cluster, scope))
            self.configured.append(names)
            if names:
                self._play(ctx, machines, names)
            text = "".join(f"Host {node}\n" for node in machines)
            (ctx.directory / layout.SSH_CONFIG).write_text(text)
            for one in plan.deletions:
                self.kubernetes.nodes.pop(one.node, None)
                ctx.provider.delete(NAME, one.node)
                node_answers.refuse(ctx.directory, one.node)
            nodes = Nodes(machines=machines, ssh_config=ctx.directory / layout.SSH_CONFIG)
            if ends:
                answers, _ = ask(ctx, nodes, names)
                record_end(ctx, node_digests.left(ctx, machines, answers, lock, scope), lock)
            self.tell(ctx.directory)

    def _play(self, ctx: Context, machines: dict[str, Machine], names: tuple[str, ...]) -> None:
        hosts, shared = inventory.compose(
            cluster=ctx.cluster,
            lock=None,
            machines={node: _numbered(m) for node, m in machines.items()},
            access=None,
            ssh_config=None,
            node_traits=ctx.node_traits,
            before=ctx.recorded,
        )
        addons = selection.applied(ctx.cluster)
        shared |= variables.addon_vars(addons, removed(ctx.record, addons))
        self.kubernetes.play(hosts, shared, names)
        self.tell(ctx.directory)

    def tell(self, directory: Path) -> None:
        """Let each node say what it is like now."""
        nodes = self.kubernetes.api_nodes()
        for name, node in self.kubernetes.nodes.items():
            plane = self.kubernetes.is_control_plane(name)
            state = NodeState(
                record=node.record,
                begun=True,
                joined=True,
                differs=node.differs,
                nodes=nodes if plane else None,
                dns_answers=plane,
            )
            node_answers.say(directory, name, state)

    def machines(self) -> dict[str, tuple[Any, ...]]:
        """Return each machine of the cluster with its sizes."""
        provider = FakeProvider(
            ProviderContext(paths=self.services.paths, reporter=self.services.reporter)
        )
        return {m.node: (m, *provider.sizes(NAME, m.node)) for m in provider.list(NAME)}

    def record(self) -> bytes:
        """Return the record's bytes."""
        return (self.services.state.directory(NAME) / layout.RECORD).read_bytes()

    def recorded(self) -> dict[str, Any]:
        """Return the recorded document."""
        record = self.services.state.read(NAME)
        assert record is not None
        return dict(record.document)


def _numbered(machine: Machine) -> Machine:
    """Give a machine an address that follows from its name, and not from who was made first."""
    return dataclasses.replace(machine, address=f"10.1.{zlib.crc32(machine.node.encode()) % 256}.1")


def place_in(root: Path) -> Place:
    environ = {"OHMYKUBE_HOME": str(root), "OHMYKUBE_CACHE_DIR": os.environ["OHMYKUBE_CACHE_DIR"]}
    return Place(Services(paths=paths.from_environment(environ), reporter=RecordingReporter()))


def described(row: Row, path: str, value: Any, directory: Path) -> Cluster:
    """Return the cluster of the row's base with one value in it."""
    document: dict[str, Any] = {
        "apiVersion": "ohmykube.dev/v1",
        "kind": "Cluster",
        "metadata": {"name": NAME},
        "spec": copy.deepcopy(row.base),
    }
    keys = path.split(".")
    below = document
    for key in keys[:-1]:
        below = below.setdefault(key, {})
        if isinstance(below, list):
            below = below[0]
    if keys[-1] in ("names", "hosts"):
        below.pop("count", None)
    if keys[-1] == "inventory":
        value = str(directory / value)
    if value is not None:
        below[keys[-1]] = value
    cluster = with_proxy(load.from_document(document))
    if cluster.addons:
        plenty.fill(Path(os.environ["OHMYKUBE_CACHE_DIR"]), cluster=cluster)
    return cluster


@pytest.fixture(autouse=True, scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have somebody else's add-ons installed; once, as all packages are looked at after it."""
    with pytest.MonkeyPatch.context() as patch:
        foreign_addon.install(tmp_path_factory.mktemp("others") / "site", patch)
        yield


@pytest.fixture
def inventories(tmp_path: Path) -> Path:
    """Two inventories of which the second has a worker more."""
    hosts = "[kube_control_plane]\ncp1 ansible_host=192.0.2.1\n[kube_node]\n"
    hosts += "w1 ansible_host=192.0.2.2\n"
    (tmp_path / "one.ini").write_text(hosts)
    (tmp_path / "two.ini").write_text(hosts + "w2 ansible_host=192.0.2.3\n")
    return tmp_path


def test_the_table_has_every_field() -> None:
    fields = {".".join(path): said for path, said in schema_paths.fields().items()}
    assert set(TABLE) == set(fields)
    for path, row in TABLE.items():
        said = fields[path]
        assert said is not None
        assert row.outcome in ALLOWED[said], path


CHANGES = {path: row for path, row in TABLE.items() if row.outcome is not IDENTITY}


@pytest.mark.parametrize("path", CHANGES)
def test_another_value_is_brought_about_or_refused(
    path: str, tmp_path: Path, inventories: Path
) -> None:
    row = TABLE[path]
    before = described(row, path, row.old, inventories)
    after = described(row, path, row.new, inventories)
    assert before != after
    place = place_in(tmp_path / "home")
    place.up(before)
    assert place.plan(before) == change.Plan()
    if row.outcome is REFUSED:
        nothing_is_touched(place, after, path)
        assert place.plan(before) == change.Plan()
        return
    kubernetes = copy.deepcopy(place.kubernetes)
    plan = place.plan(after)
    assert not plan.refusals
    assert plan.changes
    if row.outcome is APPLIED:
        assert all(_tells(one, path) for one in plan.changes)
    if row.outcome is SETTING:
        assert {type(one) for one in plan.changes} == {change.UpdateSetting}
    place.up(after)
    fresh = place_in(tmp_path / "fresh")
    fresh.up(after)
    if row.outcome is NODES:
        only_those_were_configured_that_had_to_be(place, before, after)
    assert place.plan(after) == change.Plan()
    assert place.recorded() == to_document(after)
    sizes = [{node: found[1:] for node, found in one.machines().items()} for one in (place, fresh)]
    assert sizes[0] == sizes[1]
    assert place.kubernetes == fresh.kubernetes
    if row.outcome is SETTING:
        assert place.kubernetes == kubernetes


def _tells(one: change.Change, path: str) -> bool:
    """Tell whether a change is of a field."""
    match one:
        case change.ReconfigureNode() | change.ReconfigureCluster() | change.UpgradeAddon():
            return one.field.startswith(path)
        case change.InstallAddon() | change.RemoveAddon():
            return path == "spec.addons.name"
    return False


def nothing_is_touched(place: Place, after: Cluster, path: str) -> None:
    record, machines = place.record(), place.machines()
    kubernetes = copy.deepcopy(place.kubernetes)
    with pytest.raises(ConfigError) as error:
        place.up(after)
    problems = error.value.problems
    if error.value.id == "OMK-C-180":
        refusals = place.plan(after).refusals
        assert len(problems) == len(refusals) > 0
        assert all(one.why and one.way_out for one in refusals)
        assert path.startswith(tuple(one.field for one in refusals)) or any(
            one.field.startswith(path) for one in refusals
        )
    else:  # the host is still that of the node which is no longer described
        assert path == "spec.nodes.workers.hosts.name"
        assert any("is the same machine as node" in problem for problem in problems)
    assert place.record() == record
    assert place.machines() == machines
    assert place.kubernetes == kubernetes


def only_those_were_configured_that_had_to_be(
    place: Place, before: Cluster, after: Cluster
) -> None:
    """A worker more or less is nothing to other nodes; all of them know the control planes."""
    was, wanted = [{node.name for node in one.nodes} for one in (before, after)]
    planes = {node.name for node in after.control_planes} != {
        node.name for node in before.control_planes
    }
    assert set(place.configured[-1]) == (wanted if planes else wanted - was)


@pytest.mark.parametrize("path", [path for path, row in TABLE.items() if row.outcome is IDENTITY])
def test_what_is_no_change_of_a_cluster(path: str, tmp_path: Path) -> None:
    row = TABLE[path]
    place = place_in(tmp_path / "home")
    place.up(described(row, path, row.old, tmp_path))
    record = place.record()
    if path == "metadata.name":
        other = place_in(tmp_path / "home")
        other.up(described(row, path, row.new, tmp_path))
        assert set(place.services.state.names()) == {row.old, row.new}
    else:
        with pytest.raises(ConfigError):
            described(row, path, row.new, tmp_path)
    assert place.record() == record


def test_all_refusals_come_at_once(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    document = {"metadata": {"name": NAME}, "spec": copy.deepcopy(FAKE)}
    place.up(load.from_document(document))
    document["spec"] |= {
        "provider": {"name": "nspawn", "options": {"suite": "trixie"}},
        "network": {"proxyMode": "nftables", "certSANs": ["a.example"]},
        "kubeadm": {"kubeletConfiguration": {"maxPods": 42}},
    }
    after = load.from_document(document)
    with pytest.raises(ConfigError) as error:
        place.up(after)
    text = "\n".join(error.value.problems)
    for field in ("provider.name", "provider.options.suite", "network.proxyMode", "certSANs"):
        assert field in text
    assert "`spec.kubeadm.kubeletConfiguration.maxPods` is not set and cannot become 42" in text
    assert "`ohmykube down dev` removes this" in str(error.value.hint)


MOUNTS: list[list[dict[str, Any]]] = [
    [],
    [{"host": "/etc", "node": "/a"}],
    [{"host": "/etc", "node": "/a", "readOnly": True}],
    [{"host": "/etc", "node": "/a", "nodes": "workers"}, {"host": "/usr", "node": "/b"}],
]


@pytest.mark.parametrize("old", MOUNTS)
@pytest.mark.parametrize("new", MOUNTS)
def test_mounts_change_with_a_start_on_those_nodes_alone_that_have_others(
    old: list[dict[str, Any]], new: list[dict[str, Any]], tmp_path: Path
) -> None:
    row = Row(old, new, APPLIED)
    before, after = [described(row, "spec.mounts", mounts, tmp_path) for mounts in (old, new)]
    place = place_in(tmp_path / "home")
    place.up(before)
    provider = FakeProvider(
        ProviderContext(paths=place.services.paths, reporter=place.services.reporter)
    )
    for node in after.nodes:
        provider.stop(NAME, node.name)
    told = {
        one.node for one in place.plan(after).changes if isinstance(one, change.ReconfigureNode)
    }
    pairs = zip(before.nodes, after.nodes, strict=True)
    assert told == {b.name for a, b in pairs if a.mounts != b.mounts}
    place.up(after)
    for node in after.nodes:
        found = provider.mounts(NAME, node.name)
        assert found == tuple((str(m.host), m.node, m.read_only) for m in node.mounts)
    assert place.plan(after) == change.Plan()
    assert place.recorded() == to_document(after)


@pytest.mark.parametrize(
    "path",
    [
        "spec.nodes.workers.labels",
        "spec.nodes.workers.taints",
        "spec.nodes.controlPlane.taints",
        "spec.nodes.workers.memory",
        "spec.network.flannel.backend",
        "spec.addons.name",
        "spec.addons.values",
    ],
)
def test_a_run_that_did_not_end_can_be_taken_back(path: str, tmp_path: Path) -> None:
    """What it may have brought about is known: the cluster becomes what it was."""
    row = TABLE[path]
    before, after = (described(row, path, value, tmp_path) for value in (row.old, row.new))
    place = place_in(tmp_path / "home")
    place.up(before)
    was = copy.deepcopy(place.kubernetes), place.machines()
    place.up(after, ends=False)
    assert (place.kubernetes, place.machines()) != was
    assert change.FinishRun() in place.plan(after).changes
    assert change.FinishRun() in place.plan(before).changes
    place.up(before)
    assert (place.kubernetes, place.machines()) == was
    assert place.recorded() == to_document(before)
    assert place.plan(before) == change.Plan()


def test_what_a_run_that_did_not_end_has_fixed_is_refused(tmp_path: Path) -> None:
    row, path = TABLE["spec.network.proxyMode"], "spec.network.proxyMode"
    before, after = (described(row, path, value, tmp_path) for value in (row.old, row.new))
    place = place_in(tmp_path / "home")
    place.up(before, ends=False)
    nothing_is_touched(place, after, path)
    place.up(before)
    assert place.plan(before) == change.Plan()


# -- what somebody changes -------------------------------------------------------------------------


def lose_a_label(place: Place) -> None:
    place.kubernetes.nodes["w1"].labels["e.com/a"] = "theirs"
    place.kubernetes.nodes["w1"].labels.pop("e.com/b")
    place.tell(place.directory)


def lose_a_taint(place: Place) -> None:
    place.kubernetes.nodes["w1"].taints.discard("a=1:NoSchedule")
    place.tell(place.directory)


def edit_a_file(place: Place) -> None:
    place.kubernetes.nodes["w1"].differs = ("/etc/containerd/config.toml has been edited",)
    place.tell(place.directory)


def play_otherwise(place: Place) -> None:
    place.kubernetes.nodes["w1"].record = "theirs"
    place.tell(place.directory)


def never_configure(place: Place) -> None:
    _change_record(place, lambda nodes: nodes.pop("w1"))


def configure_by_another_release(place: Place) -> None:
    _change_record(place, lambda nodes: nodes["w1"].update(release="0"))


def configure_from_other_packages(place: Place) -> None:
    _change_record(place, lambda nodes: nodes["w1"].update(artifacts="0"))


def _change_record(place: Place, act: Callable[[dict[str, dict[str, str]]], object]) -> None:
    def changed(record: Record) -> Record:
        nodes = {name: dict(digests) for name, digests in record.nodes.items()}
        act(nodes)
        return dataclasses.replace(record, nodes=nodes)

    with place.services.state.locked(NAME):
        place.services.state.update(NAME, changed)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lose_a_label, ("label e.com/a is 'theirs'", "label e.com/b is gone")),
        (lose_a_taint, ("taint a=1:NoSchedule is gone",)),
        (edit_a_file, ("/etc/containerd/config.toml has been edited",)),
        (play_otherwise, ("something other than `up` has configured it",)),
        (never_configure, ("no run has configured it to the end",)),
        (configure_by_another_release, ("another release of ohmykube",)),
        (configure_from_other_packages, ("other packages or images",)),
    ],
)
def test_what_somebody_changed_on_a_node_is_brought_back(
    harm: Callable[[Place], None], told: tuple[str, ...], tmp_path: Path
) -> None:
    """Only that node is configured, and the plan says why."""
    spec = copy.deepcopy(FAKE)
    spec["nodes"]["workers"] = {
        "count": 2,
        "labels": {"e.com/a": "1", "e.com/b": "2"},
        "taints": ["a=1:NoSchedule"],
    }
    wanted = load.from_document({"metadata": {"name": NAME}, "spec": spec})
    place = place_in(tmp_path / "home")
    place.up(wanted)
    was = copy.deepcopy(place.kubernetes)
    harm(place)
    (found,) = place.plan(wanted).changes
    assert isinstance(found, change.ConfigureNode)
    assert found.node == "w1"
    assert len(found.reasons) == len(told)
    for reason, words in zip(found.reasons, told, strict=True):
        assert words in reason
    place.up(wanted)
    assert place.configured[-1] == ("w1",)
    assert place.kubernetes == was
    assert place.plan(wanted) == change.Plan()


def test_other_bytes_of_an_artifact_reach_every_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = load.from_document({"metadata": {"name": NAME}, "spec": copy.deepcopy(FAKE)})
    place = place_in(tmp_path / "home")
    place.up(wanted)
    other = tmp_path / "other"
    plenty.fill(other, "other")
    paths = dataclasses.replace(place.services.paths, cache=other)
    again = Place(Services(paths=paths, reporter=RecordingReporter()), place.kubernetes)
    found = again.plan(wanted).changes
    assert {one.node for one in found if isinstance(one, change.ConfigureNode)} == {"cp1", "w1"}
    again.up(wanted)
    assert again.plan(wanted) == change.Plan()


def test_without_the_artifacts_nothing_is_taken_for_the_same(tmp_path: Path) -> None:
    wanted = load.from_document({"metadata": {"name": NAME}, "spec": copy.deepcopy(FAKE)})
    place = place_in(tmp_path / "home")
    place.up(wanted)
    paths = dataclasses.replace(place.services.paths, cache=tmp_path / "nothing")
    again = Place(Services(paths=paths, reporter=RecordingReporter()), place.kubernetes)
    reasons = [one.reasons for one in again.plan(wanted).changes]  # type: ignore[union-attr]
    assert (
        reasons
        == [("its packages or images are not all in the cache, and cannot be compared",)] * 2
    )
    assert not (tmp_path / "nothing").exists()


def test_a_killed_run_leaves_nothing_as_described(tmp_path: Path) -> None:
    wanted = load.from_document({"metadata": {"name": NAME}, "spec": copy.deepcopy(FAKE)})
    place = place_in(tmp_path / "home")
    place.up(wanted)
    edit_a_file(place)
    place.up(wanted, ends=False)
    assert place.plan(wanted).changes == (change.FinishRun(),)
    place.up(wanted)
    assert place.configured[-1] == ("cp1", "w1")
    assert place.plan(wanted) == change.Plan()


def test_another_password_is_brought_about_though_the_file_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a description only names is compared as well, and nothing tells what it is."""
    auth = {"username": "me", "passwordEnv": "REGISTRY_SECRET"}
    row = Row(None, {"r.example": {"auth": auth}}, APPLIED)
    wanted = described(row, "spec.registries", row.new, tmp_path)
    place = place_in(tmp_path / "home")
    for password in ("s3cret-of-old", "s3cret-of-new"):
        monkeypatch.setenv("REGISTRY_SECRET", password)
        cluster = with_logins(wanted)
        plan = place.plan(cluster)
        if password.endswith("new"):
            assert {type(one) for one in plan.changes} == {change.ConfigureNode}
            assert "other values for the roles" in str(plan)
        place.up(cluster)
        assert place.plan(cluster) == change.Plan()
        assert "s3cret" not in str(plan)
        assert b"s3cret" not in place.record()
