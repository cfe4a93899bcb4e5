"""The inventory plugin, on records that the CLI writes, run by Ansible without the CLI."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.plugin_utils import cluster_record

from ohmykube.addons import selection
from ohmykube.ansible import variables
from ohmykube.config import document, load
from ohmykube.kit import paths, process
from ohmykube.model import names
from ohmykube.model.cluster import (
    Cluster,
    Host,
    KubeadmPatches,
    Network,
    Node,
    NodeFile,
    Role,
    Taint,
)
from ohmykube.model.machine import Machine, MachineState, SshTarget
from ohmykube.providers import ssh_config
from ohmykube.state import file_contents, layout, record
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore
from tests import artifact_locks, host_names, inventory_place

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
CORPUS = sorted((ROOT / "tests" / "data" / "config").glob("valid-*.yaml"))
PLUGIN = "ohmykube.cluster.cluster"
LOCK = artifact_locks.of(
    version="1.36.3",
    arch="arm64",
    artifacts=(),
    variables={
        "containerd_sandbox_image": "registry.k8s.io/pause:3.10.1",
        "kubeadm_etcd_image_tag": "3.6.5-0",
        "kubeadm_dns_image_tag": "v1.13.1",
        "flannel_image": "ghcr.io/flannel-io/flannel:v0.26.7",
        "flannel_cni_plugin_image": "ghcr.io/flannel-io/flannel-cni-plugin:v1.6.2-flannel1",
    },
)
BOTH = Network(
    pod_cidr="10.244.0.0/16,fd00:10:244::/56", service_cidr="10.96.0.0/16,fd00:10:96::/112"
)
# Roles see themselves whether they are in a system container; the provider's word is not needed.
OF_THE_PROVIDER = {
    "node_manage_kernel",
    "node_swap",
    "kubeadm_ignore_preflight_errors",
}


def machines(cluster: Cluster) -> dict[str, Machine]:
    """Return a machine for each node of a cluster."""
    return {
        node.name: Machine(
            cluster=cluster.name,
            node=node.name,
            state=MachineState.RUNNING,
            address=f"10.88.0.{number}",
            ssh=SshTarget(
                address=f"10.88.0.{number}",
                user=(node.host and node.host.user) or "root",
                become=bool(node.host and node.host.become),
            ),
        )
        for number, node in enumerate(cluster.nodes, 11)
    }


@dataclass(frozen=True)
class Kept:
    """A cluster as the CLI keeps it, and a directory with an inventory file for it."""

    store: StateStore
    cluster: Cluster
    place: Path

    @property
    def directory(self) -> Path:
        return self.store.directory(self.cluster.name)

    @property
    def ssh_config(self) -> Path:
        return self.directory / layout.SSH_CONFIG

    @property
    def record(self) -> Path:
        return self.directory / layout.RECORD

    @property
    def inventory(self) -> Path:
        return self.place / "dev.ohmykube.yml"

    def write(self, **more: object) -> None:
        """Write the inventory file."""
        wanted = {"plugin": PLUGIN, "cluster": self.cluster.name, **more}
        self.inventory.write_text(json.dumps(wanted))

    def ansible(self, *arguments: object, check: bool = True) -> process.Result:
        return inventory_place.ansible(self.place, *arguments, check=check)

    def listed(self) -> dict[str, Any]:
        return inventory_place.listed(self.inventory)

    def refused(self) -> str:
        return inventory_place.refused(self.inventory)


@pytest.fixture
def keep(tmp_path: Path) -> Callable[[Cluster], Kept]:
    """Return a function that keeps a cluster as ``ohmykube up`` does."""

    def kept(cluster: Cluster, *, made: int | None = None) -> Kept:
        store = StateStore(paths.from_environment().state)
        store.create(
            Record(
                id="",
                name=cluster.name,
                document=document.to_document(cluster),
                provider=cluster.provider,
                kubernetes_version=cluster.kubernetes_version,
                lock=dataclasses.asdict(LOCK),
                addons=tuple(dataclasses.asdict(one) for one in selection.applied(cluster)),
            )
        )
        found = Kept(store, cluster, tmp_path)
        targets = {name: machine.ssh for name, machine in machines(cluster).items() if machine.ssh}
        reached = dict(list(targets.items())[:made])
        control = layout.control_directory(found.directory)
        found.ssh_config.write_text(ssh_config.render(reached, control))
        file_contents.keep(found.directory, cluster, None)
        found.write()
        return found

    return kept


def small(**more: Any) -> Cluster:
    """Return a cluster of one control plane and one worker."""
    nodes = (
        Node(name="cp1", role=Role.CONTROL_PLANE, taints=()),
        Node(
            name="w1",
            role=Role.WORKER,
            labels={"example.com/zone": "a"},
            taints=(Taint(key="gpu", effect="NoSchedule"),),
        ),
    )
    wanted = {"name": "dev", "kubernetes_version": "1.36.3", "provider": "nspawn", "nodes": nodes}
    return Cluster(**{**wanted, **more})


# -- the formats are those of the CLI --------------------------------------------------------------


def test_the_schema_is_the_one_that_the_cli_writes() -> None:
    assert record.SCHEMA == cluster_record.SCHEMA


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_every_cluster_reads_as_the_cli_has_it(path: Path, keep: Callable[[Cluster], Kept]) -> None:
    cluster = load.load_file(path)
    kept = keep(cluster)
    directory, found = cluster_record.load(str(kept.store.root), cluster.name)
    assert directory == str(kept.directory)
    nodes = cluster_record.nodes(found)
    assert [(node["name"], node["role"]) for node in nodes] == [
        (node.name, node.role.value)
        for node in sorted(cluster.nodes, key=lambda node: node.role is Role.WORKER)
    ]
    for wanted in cluster.nodes:
        read = next(node for node in nodes if node["name"] == wanted.name)
        assert read["labels"] == wanted.labels
        taints = None if wanted.taints is None else [str(taint) for taint in wanted.taints]
        assert read["taints"] == taints
        if wanted.host is not None:
            assert read["host"].get("nodeIP") == wanted.host.node_ip
            assert read["host"]["become"] == wanted.host.become
    shared = variables.group_vars(
        cluster, LOCK, None, node_traits=variables.NodeTraits(system_containers=False)
    )
    shared |= variables.addon_vars(selection.applied(cluster))
    theirs = {name: value for name, value in shared.items() if name not in OF_THE_PROVIDER}
    assert cluster_record.settings(found) == theirs


ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {},
    {"HOME": "/users/me"},
    {"HOME": "/users/me", "XDG_STATE_HOME": "/elsewhere"},
    {"HOME": "/users/me", "XDG_STATE_HOME": "not/absolute"},
    {"HOME": "/users/me", "XDG_STATE_HOME": ""},
    {"HOME": "/users/me", "OHMYKUBE_HOME": "/srv/omk", "XDG_STATE_HOME": "/elsewhere"},
    {"HOME": "/users/me", "OHMYKUBE_HOME": "relative/omk"},
    {"HOME": "/users/me", "OHMYKUBE_HOME": "~/omk"},
)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("environ", ENVIRONMENTS)
def test_state_is_sought_where_the_cli_has_it(
    environ: dict[str, str], platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    found = cluster_record.state_directory(environ, platform)
    assert found == str(paths.from_environment(environ).state)


@pytest.mark.parametrize("name", ["short", 'with " and % and \\ and blank'])
def test_the_ssh_configuration_reads_as_it_was_written(tmp_path: Path, name: str) -> None:
    control = Path("/run") / name
    targets = {
        "cp1": SshTarget(address="fe80::1%eth0", user="me", proxy_command=("nc", "%h", "a b")),
        "w1": SshTarget(address="w1.example.com", user="root", jump="me@bastion:22"),
    }
    (tmp_path / layout.SSH_CONFIG).write_text(ssh_config.render(targets, control))
    path, hosts = cluster_record.ssh_hosts(str(tmp_path))
    assert path == str(tmp_path / layout.SSH_CONFIG)
    assert hosts["cp1"]["HostName"] == "fe80::1%eth0"
    assert (hosts["w1"]["HostName"], hosts["w1"]["User"]) == ("w1.example.com", "root")
    assert "HostName" not in hosts["bastion"]
    assert hosts["*"]["ControlPath"] == f"{control}/%C"


def test_without_shared_connections_nothing_is_missing(tmp_path: Path) -> None:
    far = tmp_path / ("x" * ssh_config.LONGEST_CONTROL_DIR)
    (tmp_path / layout.SSH_CONFIG).write_text(ssh_config.render({}, far))
    _, hosts = cluster_record.ssh_hosts(str(tmp_path))
    assert cluster_record.shares_connections(hosts)


# -- what is wrong is said -------------------------------------------------------------------------


def tampered(kept: Kept, **body: object) -> None:
    """Write a record whose sum is right and whose content is not."""
    content = json.loads(kept.record.read_bytes())
    content["cluster"].update(body)
    content["sha256"] = record._sum(content["schema"], content["cluster"])
    kept.record.write_text(json.dumps(content))


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _data: b"", "it is not JSON"),
    "cut off": (lambda data: data[:-20], "it is not JSON"),
    "not text": (lambda data: b"\xff\xfe" + data, "it is not JSON"),
    "deep": (lambda _data: b"[" * 100_000, "it is not JSON"),
    "a list": (lambda _data: b"[]", "no schema number"),
    "flipped": (lambda data: data.replace(b"10.244", b"10.245"), "checksum does not match"),
    "older": (lambda data: data.replace(b'"schema": 2', b'"schema": 0'), "checksum"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_record_is_refused(what: str, keep: Callable[[Cluster], Kept]) -> None:
    kept = keep(small())
    change, why = DAMAGE[what]
    kept.record.write_bytes(change(kept.record.read_bytes()))
    with pytest.raises(cluster_record.RecordError, match=why) as caught:
        cluster_record.load(str(kept.store.root), "dev")
    assert "ohmykube status dev" in str(caught.value)
    assert str(kept.record) in str(caught.value)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"name": "other"}, 'record of cluster "other"'),
        ({"document": {"apiVersion": "ohmykube.dev/v9"}}, "describes no cluster"),
        ({"document": []}, "not a record"),
        ({"provider": 1}, "not a record"),
    ],
)
def test_a_record_that_means_something_else_is_refused(
    body: dict[str, object], why: str, keep: Callable[[Cluster], Kept]
) -> None:
    kept = keep(small())
    tampered(kept, **body)
    with pytest.raises(cluster_record.RecordError, match=why):
        cluster_record.load(str(kept.store.root), "dev")


@pytest.mark.parametrize("name", ["../dev", "dev/../dev", "", "Dev", "x" * 41, "{{ 1 }}"])
def test_a_name_is_never_a_path(name: str, keep: Callable[[Cluster], Kept]) -> None:
    kept = keep(small())
    with pytest.raises(cluster_record.RecordError, match="is not the name of a cluster"):
        cluster_record.load(str(kept.store.root), name)


@pytest.mark.parametrize("name", [*host_names.GOOD, *host_names.BAD])
def test_names_of_hosts_are_those_that_the_cli_takes(name: str) -> None:
    """The collection and the CLI have one rule for them."""
    found = cluster_record.NODE_NAME.fullmatch(name)
    assert (found is not None) is names.is_host_name(name) is (name in host_names.GOOD)


@pytest.mark.parametrize(
    "nodes",
    [
        {},
        {"controlPlane": {"names": ["cp1"]}, "workers": {}},
        {"controlPlane": {"names": ["--flag"]}, "workers": {"count": 0}},
        {"controlPlane": {"names": [1]}, "workers": {"count": 0}},
        {"controlPlane": {"hosts": [{}]}, "workers": {"count": 0}},
    ],
)
def test_nodes_that_are_none_are_refused(nodes: dict[str, Any]) -> None:
    found = {"document": {"spec": {"nodes": nodes}}}
    with pytest.raises(cluster_record.RecordError, match=r"cannot be read|not the name of a node"):
        cluster_record.nodes(found)


def test_settings_that_are_none_are_refused() -> None:
    with pytest.raises(cluster_record.RecordError, match="settings of the cluster cannot be read"):
        cluster_record.settings({"document": {"spec": {}}})


def test_a_record_that_may_not_be_read_says_whose_it_is(tmp_path: Path) -> None:
    (tmp_path / "clusters" / "dev" / "record.json").mkdir(parents=True)
    with pytest.raises(cluster_record.RecordError, match=r"cannot read .*record\.json"):
        cluster_record.load(str(tmp_path), "dev")


def test_ansible_shows_the_reason(keep: Callable[[Cluster], Kept]) -> None:
    kept = keep(small())
    content = json.loads(kept.record.read_bytes())
    kept.record.write_text(json.dumps({**content, "schema": 3}))
    assert "made by a newer version of ohmykube (schema 3" in kept.refused()
    kept.write(cluster="nobody")
    assert 'there is no cluster "nobody"' in kept.refused()


def test_a_cluster_without_machines_is_no_inventory(keep: Callable[[Cluster], Kept]) -> None:
    kept = keep(small())
    kept.ssh_config.unlink()
    assert "no machines to reach yet" in kept.refused()


# -- what Ansible makes of it ----------------------------------------------------------------------


def test_groups_hosts_and_variables(keep: Callable[[Cluster], Kept]) -> None:
    kept = keep(small())
    found = kept.listed()
    assert found["kube_control_plane"]["hosts"] == ["cp1"]
    assert found["kube_node"]["hosts"] == ["w1"]
    assert sorted(found["k8s_cluster"]["children"]) == ["kube_control_plane", "kube_node"]
    there = machines(kept.cluster)
    shared = variables.group_vars(
        kept.cluster,
        LOCK,
        None,
        node_traits=variables.NodeTraits(system_containers=False),
    ) | variables.addon_vars(selection.applied(kept.cluster))
    planes = [there[node.name] for node in kept.cluster.control_planes]
    for node in kept.cluster.nodes:
        known = found["_meta"]["hostvars"][node.name]
        wanted = variables.host_vars(
            node, there[node.name], kept.ssh_config, None, control_planes=planes
        )
        assert {name: known.get(name) for name in wanted} == wanted
        assert known["ohmykube_role"] == node.role.value
        assert known["ohmykube_provider"] == "nspawn"
        theirs = {name: value for name, value in shared.items() if name not in OF_THE_PROVIDER}
        assert {name: known.get(name) for name in theirs} == theirs
        # Ansible adds its own when it does not inject facts as variables.
        more = set(known) - set(wanted) - set(theirs) - {"ansible_local"}
        assert more == {"ohmykube_role", "ohmykube_provider"}


def test_existing_hosts(keep: Callable[[Cluster], Kept]) -> None:
    first = Host(address="192.0.2.11", user="admin", become=True, node_ip="198.51.100.1")
    nodes = (
        Node(name="m1", role=Role.CONTROL_PLANE, host=first),
        Node(name="n1", role=Role.WORKER, host=Host(address="n1.example.com")),
    )
    found = keep(small(provider="ssh", nodes=nodes)).listed()["_meta"]["hostvars"]
    assert (found["m1"]["ansible_user"], found["m1"]["ansible_become"]) == ("admin", True)
    assert found["m1"]["kubeadm_node_ip"] == "198.51.100.1"
    # Where the node's own address is not known, the roles find it; nothing is guessed.
    assert not {"ansible_become", "kubeadm_node_ip", "node_hosts"} & set(found["n1"])


def test_of_two_families_a_node_knows_its_other_address_itself(
    keep: Callable[[Cluster], Kept],
) -> None:
    """The ssh configuration has one."""
    found = keep(small(network=BOTH)).listed()["_meta"]["hostvars"]
    assert "kubeadm_node_ip" not in found["w1"]
    assert found["w1"]["node_hosts"] == {"cp1": "10.88.0.11", "w1": "10.88.0.12"}
    assert found["w1"]["kubeadm_pod_cidr"] == BOTH.pod_cidr


def test_a_host_that_was_told_two_addresses_has_both(keep: Callable[[Cluster], Kept]) -> None:
    both = Host(address="192.0.2.11", node_ip="198.51.100.1,2001:db8::1")
    nodes = (Node(name="m1", role=Role.CONTROL_PLANE, host=both),)
    found = keep(small(provider="ssh", nodes=nodes, network=BOTH)).listed()["_meta"]["hostvars"]
    assert found["m1"]["kubeadm_node_ip"] == "198.51.100.1,2001:db8::1"
    assert found["m1"]["node_hosts"] == {"m1": "198.51.100.1"}


def with_files() -> Cluster:
    """Return a cluster with files on one of its nodes and a patch."""

    def file(path: str, content: str) -> NodeFile:
        digest = hashlib.sha256(content.encode()).hexdigest()
        return NodeFile(path=path, sha256=digest, content=content, mode="0640")

    plane, worker = small().nodes
    files = (file("/etc/own/a", "{{ secret }}\n"), file("/etc/own/b", "second"))
    patches = (file("etcd.yaml", "metadata: {}\n"),)
    return small(
        nodes=(dataclasses.replace(plane, files=files), worker),
        kubeadm=KubeadmPatches(patches=patches),
    )


def test_files_of_the_user_reach_the_roles_as_from_the_cli(
    keep: Callable[[Cluster], Kept],
) -> None:
    """Both ways write the same bytes; the inventory itself shows none of them."""
    kept = keep(with_files())
    listed = kept.listed()["_meta"]["hostvars"]
    there = machines(kept.cluster)
    for node in kept.cluster.nodes:
        of_cli = variables.host_vars(node, there[node.name], None, None)
        assert listed[node.name].get("kubeadm_files") == of_cli.get("kubeadm_files")
    traits = variables.NodeTraits(system_containers=False)
    of_cli = variables.group_vars(kept.cluster, None, None, node_traits=traits)
    found = listed["cp1"]
    assert found["kubeadm_patches"] == of_cli["kubeadm_patches"]
    texts = json.loads(Path(found["kubeadm_contents_file"]).read_text())
    assert texts == {name: text.reveal() for name, text in of_cli["kubeadm_contents"].items()}
    assert Path(found["kubeadm_contents_file"]).stat().st_mode & 0o077 == 0
    assert "second" not in json.dumps(kept.listed())


def test_files_whose_texts_are_not_known_are_told(keep: Callable[[Cluster], Kept]) -> None:
    kept = keep(with_files())
    (kept.directory / layout.FILE_CONTENTS).unlink()
    found = kept.ansible("inventory", "-i", kept.inventory, "--list")
    assert "are not known here" in " ".join(found.stderr.split())
    assert "kubeadm_files" not in found.stdout
    assert "kubeadm_patches" not in found.stdout


def test_a_node_without_a_machine_is_left_out(keep: Callable[..., Kept]) -> None:
    kept = keep(small(), made=1)
    done = kept.ansible("inventory", "-i", kept.inventory.name, "--graph")
    assert "|  |--cp1" in done.stdout
    assert "w1" not in done.stdout
    assert 'node "w1" of cluster "dev" has no machine' in " ".join(done.stderr.split())


def test_lost_sockets_do_not_stop_ssh(keep: Callable[[Cluster], Kept]) -> None:
    kept = keep(small())
    layout.control_directory(kept.directory).rmdir()
    arguments = kept.listed()["_meta"]["hostvars"]["w1"]["ansible_ssh_common_args"]
    assert arguments == f"-F {kept.ssh_config} -o ControlMaster=no -o ControlPath=none"


def test_another_state_directory_and_another_name_of_the_file(
    keep: Callable[[Cluster], Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep(small())
    kept.write(state_directory=str(kept.store.root))
    monkeypatch.setenv("OHMYKUBE_HOME", "/nowhere")
    assert set(kept.listed()["_meta"]["hostvars"]) == {"cp1", "w1"}
    other = kept.inventory.rename(kept.place / "dev.yml")
    done = kept.ansible("inventory", "-i", other, "--list", check=False)
    assert done.code != 0
    assert "could not be verified by inventory plugin" in " ".join(done.stderr.split())


def test_constructed_groups_and_variables(keep: Callable[[Cluster], Kept]) -> None:
    kept = keep(small())
    zone = "kubeadm_node_labels['example.com/zone']"
    kept.write(
        compose={"where": f"{zone} | default('-')", "of": "cluster_name ~ '/' ~ where"},
        groups={"workers": "ohmykube_role == 'worker'", "gpu": "'gpu' in kubeadm_node_taints[0]"},
        keyed_groups=[{"prefix": "zone", "key": f"{zone} | default('none')"}],
    )
    found = kept.listed()
    assert found["workers"]["hosts"] == found["zone_a"]["hosts"] == found["gpu"]["hosts"] == ["w1"]
    assert found["zone_none"]["hosts"] == ["cp1"]
    hostvars = found["_meta"]["hostvars"]
    assert (hostvars["w1"]["where"], hostvars["cp1"]["where"]) == ("a", "-")
    kept.write(strict=True, groups={"wrong": "nothing.like.that"})
    assert "Could not add host" in kept.refused()


SHOW = """
- hosts: k8s_cluster
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        var: kubeadm_node_labels
    - ansible.builtin.debug:
        msg: "{{ [mine, kubeadm_kubelet_configuration, flannel_backend, kubeadm_cert_sans] }}"
    - ansible.builtin.debug:
        var: hostvars[inventory_hostname]
"""


def test_text_from_the_record_is_never_evaluated(
    keep: Callable[[Cluster], Kept], tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    evil = f"{{{{ lookup('ansible.builtin.pipe', 'touch {trap}') }}}}"
    nodes = (
        Node(
            name="cp1",
            role=Role.CONTROL_PLANE,
            labels={"evil": evil, evil: "x"},
            taints=(Taint(key=evil, value=evil, effect=evil),),
            files=(NodeFile(path=evil, sha256=evil, mode=evil),),
        ),
    )
    network = {field.name: evil for field in dataclasses.fields(Network) if field.name != "cni"}
    patches: dict[str, Any] = {
        field.name: {evil: [evil]} for field in dataclasses.fields(KubeadmPatches)
    }
    patches["patches"] = (NodeFile(path=evil, sha256=evil),)
    kept = keep(
        small(
            nodes=nodes,
            kubernetes_version=evil,
            network=Network(**{**network, "cert_sans": (evil,)}),
            kubeadm=KubeadmPatches(**patches),
        )
    )
    text = (
        kept.ssh_config.read_text().replace("10.88.0.11", evil).replace("User root", f"User {evil}")
    )
    kept.ssh_config.write_text(text)
    kept.write(
        compose={"mine": "kubeadm_node_labels.evil"},
        keyed_groups=[{"prefix": "it", "key": "kubeadm_node_labels"}],
        groups={"it": "kubeadm_node_labels.evil | length > 0"},
    )
    known = kept.listed()["_meta"]["hostvars"]["cp1"]
    assert known["kubeadm_node_labels"] == {"evil": evil, evil: "x"}
    assert known["mine"] == known["ansible_user"] == known["kubeadm_node_ip"] == evil
    (kept.place / "show.yml").write_text(SHOW)
    done = kept.ansible("playbook", "-i", kept.inventory.name, "-c", "local", "show.yml")
    assert "lookup('ansible.builtin.pipe', 'touch" in done.stdout
    assert not trap.exists()
    # The trap works: the same text in the user's own file is a template.
    kept.write(compose={"mine": evil.strip("{ }")}, strict=True)
    kept.ansible("inventory", "-i", kept.inventory.name, "--list", check=False)
    assert trap.exists()


def test_the_documentation_and_its_examples(keep: Callable[[Cluster], Kept]) -> None:
    kept = keep(small())
    told = kept.ansible("doc", "-t", "inventory", PLUGIN, "--json").stdout
    about = json.loads(told)[PLUGIN]
    assert about["doc"]["plugin_name"] == PLUGIN
    assert {"plugin", "cluster", "state_directory", "compose", "groups", "keyed_groups"} <= set(
        about["doc"]["options"]
    )
    examples = about["examples"].split("---\n")
    assert len(examples) == 2
    for example in examples:
        kept.inventory.write_text(
            example.replace("~/clusters/state", json.dumps(str(kept.store.root)))
        )
        assert kept.listed()["kube_node"]["hosts"] == ["w1"]


def test_a_record_of_the_schema_before_reads_as_the_cli_reads_it(
    keep: Callable[[Cluster], Kept],
) -> None:
    kept = keep(small())
    old = json.loads((ROOT / "tests/data/state/record-1.json").read_bytes())
    kept.record.write_text(json.dumps(old))
    _, found = cluster_record.load(str(kept.store.root), "dev")
    read = kept.store.read("dev")
    assert read is not None
    assert [one["role"] for one in found["addons"]] == [one["role"] for one in read.addons]
    settings = cluster_record.settings(found)
    assert read.lock is not None
    for told in (*read.addons, *read.lock["sets"]):
        assert told["variables"].items() <= settings.items()
    assert settings["cluster_network_role"] == "ohmykube.cluster.flannel"
