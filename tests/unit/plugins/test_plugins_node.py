"""node_prepare and the node's facts, below a root of our own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import hosts_block
from ansible_collections.ohmykube.cluster.plugins.module_utils import node as facts
from ansible_collections.ohmykube.cluster.plugins.modules.node_prepare import Preparation

from tests.unit.plugins.preparation import FACTS, PARAMS

if TYPE_CHECKING:
    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux


@pytest.fixture
def machine(node: FakeNode) -> FakeNode:
    node.write("proc/sys/net/ipv4/ip_forward", "0\n")
    node.write("proc/sys/vm/overcommit_memory", "1\n")
    node.write("proc/modules", "overlay 1 0 - Live 0x0\n")
    node.write("etc/hosts", "127.0.0.1 localhost\n")
    node.write("etc/fstab", "UUID=1 / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n")
    node.path("etc/systemd/system").mkdir(parents=True)
    node.program("modprobe", 'mkdir -p "$ROOT/sys/module/$2"')
    node.program("swapoff", "true")
    return node


def prepare(node: FakeNode, check: bool = False, facts: Any = FACTS, **more: Any) -> Preparation:
    made = Preparation({**PARAMS, **more}, check, facts, root=str(node.root))
    made.present()
    return made


def test_prepares_once(machine: FakeNode) -> None:
    first = prepare(machine)
    assert "modprobe br_netfilter" in first.changes
    assert "modprobe overlay" not in first.changes
    assert machine.path("proc/sys/net/ipv4/ip_forward").read_text() == "1"
    assert "net.ipv4.ip_forward = 1" in machine.path("etc/sysctl.d/99-ohmykube.conf").read_text()
    assert machine.path("etc/fstab").read_text().splitlines()[1].startswith("#ohmykube# /swapfile")
    assert machine.path("etc/systemd/system/swap.target").is_symlink()
    assert machine.path("etc/cni/net.d").is_dir()
    assert prepare(machine).changes == []


def test_check_mode(machine: FakeNode) -> None:
    before = sorted(str(path) for path in machine.root.rglob("*"))
    checked = prepare(machine, check=True)
    assert sorted(str(path) for path in machine.root.rglob("*")) == before
    assert checked.changes == prepare(machine).changes


def test_system_container_leaves_the_kernel_alone(machine: FakeNode) -> None:
    changes = prepare(machine, manage_kernel=False, facts={**FACTS, "swap": True}).changes
    assert machine.calls() == []
    assert "sysctl net.ipv4.ip_forward" in changes
    assert "vm.overcommit" not in machine.path("etc/sysctl.d/99-ohmykube.conf").read_text()
    assert not machine.path("etc/modules-load.d/ohmykube.conf").exists()


def test_system_container_is_recognised(machine: FakeNode) -> None:
    inside = {**FACTS, "swap": True, "in_container": True}
    assert prepare(machine, facts=inside).changes == (
        prepare_anew(machine, manage_kernel=False, facts={**FACTS, "swap": True})
    )
    assert machine.calls() == []


def prepare_anew(node: FakeNode, **more: Any) -> list[str]:
    """Return what preparing would change if nothing were prepared yet."""
    Preparation({**PARAMS}, False, FACTS, root=str(node.root)).absent()
    node.write("proc/sys/net/ipv4/ip_forward", "0\n")
    node.path("etc/cni/net.d").rmdir()
    return prepare(node, **more).changes


def test_swap_is_turned_off(machine: FakeNode) -> None:
    assert "swapoff" in prepare(machine, facts={**FACTS, "swap": True}).changes
    assert machine.calls("swapoff") == ["swapoff --all"]


@pytest.mark.parametrize(
    ("asked", "noted"),
    [({}, True), ({"swap": "keep"}, False), ({"manage_kernel": False}, False)],
)
def test_swap_counts_as_off_only_where_it_was_turned_off(
    machine: FakeNode, asked: dict[str, Any], noted: bool
) -> None:
    """Or a node whose swap is left alone would look as if somebody had turned it on again."""
    prepare(machine, **asked)
    record = json.loads(machine.path("var/lib/ohmykube/managed.json").read_text())
    assert record["swap_off"] is noted


def test_hosts_block(machine: FakeNode) -> None:
    prepare(machine)
    text = machine.path("etc/hosts").read_text()
    assert text.startswith("127.0.0.1 localhost\n" + hosts_block.BEGIN)
    assert "10.0.0.12 w1\n" in text
    assert "10.0.0.11 cp1\n" in text
    prepare(machine, hosts={"cp1": "10.0.0.11"})
    assert "w1" not in machine.path("etc/hosts").read_text()


def test_hosts_gets_localhost_when_it_lacks(machine: FakeNode) -> None:
    machine.write("etc/hosts", "10.0.0.11 cp1")
    prepare(machine)
    assert "\n127.0.0.1 localhost\n" in machine.path("etc/hosts").read_text()


def test_absent_restores(machine: FakeNode) -> None:
    hosts = machine.path("etc/hosts").read_text()
    fstab = machine.path("etc/fstab").read_text()
    prepare(machine)
    undo = Preparation(PARAMS, False, FACTS, root=str(machine.root))
    undo.absent()
    assert machine.path("etc/hosts").read_text() == hosts
    assert machine.path("etc/fstab").read_text() == fstab
    assert not machine.path("etc/sysctl.d/99-ohmykube.conf").exists()
    again = Preparation(PARAMS, False, FACTS, root=str(machine.root))
    again.absent()
    assert again.changes == []


def test_block_without_its_end() -> None:
    assert hosts_block.without_block(f"a\n{hosts_block.BEGIN}\nb\n") == "a\n"


def test_facts(node: FakeNode) -> None:
    node.write("etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    node.write("proc/1/status", "CapEff:\t000001fffeffffff\nCapBnd:\t000001ffffffffff\n")
    node.write("sys/fs/cgroup/cgroup.controllers", "cpu")
    node.write("run/systemd/container", "systemd-nspawn")
    found = facts.gather(str(node.root))
    assert found["cap_sys_resource"] is False
    assert found["cgroup_version"] == 2
    assert found["in_container"] is True
    assert found["os"] == {"id": "debian", "version": "12"}
    assert found["joined"] is False
    assert found["cluster_ca"] == ""
    assert (found["swap"], found["systemd"], found["kubernetes_version"]) == (False, False, "")


@pytest.mark.parametrize(
    ("cards", "least"),
    [
        ({}, 0),
        ({"lo": "10"}, 0),
        ({"lo": "10", "eth0": "00"}, 1400),
        ({"eth0": "20"}, 0),  # link-local
        ({"eth0": "00", "wg0": "00"}, 1280),
        ({"eth0": "00", "flannel-v6.1": "00", "cni0": "00"}, 1400),
    ],
)
def test_the_mtu_of_ipv6_is_the_least_of_cards_that_are_no_pods(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, cards: dict[str, str], least: int
) -> None:
    sizes = {"eth0": 1400, "wg0": 1280, "lo": 65536, "flannel-v6.1": 1330, "cni0": 1000}
    monkeypatch.setattr(facts, "mtu_of", sizes.__getitem__)
    lines = [f"{'fd00'.ljust(32, '0')} 02 40 {scope} 80 {name:>8}" for name, scope in cards.items()]
    node.write("proc/net/if_inet6", "".join(f"{line}\n" for line in lines))
    assert facts.gather(str(node.root))["mtu6"] == least


def test_the_mtu_of_a_card_is_asked_of_the_kernel() -> None:
    assert facts.mtu_of("lo") >= 1280
    assert facts.mtu_of("no-such-card") == 0


def test_facts_of_a_machine_with_systemd_and_swap(node: FakeNode) -> None:
    head = "Filename Type Size Used Priority\n"
    node.write("proc/swaps", head)
    node.write("proc/1/status", "CapEff:\t000001ffffffffff\nCapBnd:\t000001ffffffffff\n")
    node.path("run/systemd/system").mkdir(parents=True)
    node.write("var/lib/ohmykube/kubeadm.json", '{"finished": true, "kubernetes": "1.36.3"}')
    found = facts.gather(str(node.root))
    assert (found["swap"], found["systemd"]) == (False, True)
    assert (found["in_container"], found["cap_sys_resource"]) == (False, True)
    assert found["cgroup_version"] == 1
    node.write("proc/swaps", head + "/dev/sda2 partition 1000 0 -2\n")
    assert facts.gather(str(node.root))["swap"] is True


def test_facts_know_a_joined_node(node: FakeNode) -> None:
    node.write("var/lib/ohmykube/kubeadm.json", '{"finished": true}')
    assert facts.gather(str(node.root))["joined"] is False
    node.write("etc/kubernetes/kubelet.conf")
    # The record is found below the fake root through the constants.
    assert facts.kubeadm.Record().finished


def test_unknown_capabilities_count_as_there() -> None:
    assert facts.has_capability("", 24) is True


def test_node_info(run_module: RunModule, node: FakeNode) -> None:
    found = run_module("node_info")["ansible_facts"]["ohmykube_node"]
    assert found["architecture"] in ("amd64", "arm64")


FLAGS = "--hostname-override=minion-a --node-ip=10.9.0.1 --node-labels=a=b,c=d"
SETTLED = {
    "dns_domain": "estate.example",
    "node_ip": "10.9.0.1",
    "node_name": "minion-a",
    "pod_cidr": "10.42.0.0/16,fd00:42::/56",
    "service_cidr": "10.43.0.0/16",
}


def settings() -> dict[str, Any]:
    found = facts.gather()
    return {name: found[name] for name in SETTLED}


def test_facts_tell_what_node_and_cluster_were_made_with(node: FakeNode) -> None:
    """As kubeadm wrote it down, whoever asked for it; what was not finished settles nothing."""
    assert set(settings().values()) == {""}
    node.write("var/lib/kubelet/kubeadm-flags.env", f'KUBELET_KUBEADM_ARGS="{FLAGS}"\n')
    node.write("var/lib/kubelet/config.yaml", "cgroupRoot: /\nclusterDomain: estate.example\n")
    manifests = {
        "kube-controller-manager": "    - --cluster-cidr=10.42.0.0/16,fd00:42::/56\n",
        "kube-apiserver": "    - --service-cluster-ip-range=10.43.0.0/16\n",
    }
    for name, text in manifests.items():
        node.write(f"etc/kubernetes/manifests/{name}.yaml", text)
    assert settings() == SETTLED, "a cluster that others made"
    facts.kubeadm.Record().begin("init", [], "1.36.3")
    assert set(settings().values()) == {""}
    facts.kubeadm.Record().finish("init")
    node.write("etc/kubernetes/kubelet.conf")
    assert settings() == SETTLED


def test_a_node_without_another_name_has_that_of_its_host(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts.socket, "gethostname", lambda: "Rack-12.Example.com")
    node.write("var/lib/kubelet/kubeadm-flags.env", 'KUBELET_KUBEADM_ARGS=""\n')
    assert settings()["node_name"] == "rack-12.example.com"
