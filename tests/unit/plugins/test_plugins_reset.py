"""kubeadm_reset: what goes, and what stays because it was there before or belongs to others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import kubeadm, leftovers

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux

DOCUMENTS = [{"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "InitConfiguration"}]
# What others may keep below the paths that Kubernetes uses, and what it then adds beside that.
THEIRS = {
    "var/lib/etcd/member/snap/db": "var/lib/etcd/member/wal/0.wal",
    "var/lib/cni/networks/podman/10.88.0.2": "var/lib/cni/networks/cbr0/10.244.0.2",
    "var/lib/kubelet/config.json": "var/lib/kubelet/pods/x/volumes/y",
    "etc/kubernetes/audit/policy.yaml": "etc/kubernetes/pki/ca.crt",
    "etc/kubernetes/oidc.pem": "etc/kubernetes/admin.conf",
    "var/log/pods/theirs/0.log": "var/log/pods/ours/0.log",
    "run/flannel/subnet.env": "run/flannel/10-flannel.conflist",
    "usr/libexec/kubernetes/drivers/theirs": "usr/libexec/kubernetes/kubelet-plugins/ours",
    "etc/cni/net.d/10-flannel.conflist": "etc/cni/net.d/other",
    "opt/cni/bin/flannel": "opt/cni/bin/bridge",
}
STATE = (
    "*nat\n:PREROUTING ACCEPT [0:0]\n:{0}-X - [0:0]\n"
    "-A PREROUTING -j {0}-X\n-A {0}-X -j RETURN\nCOMMIT\n"
)
BARE = "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"
KUBEADM = r"""
case "$1" in
init)
  touch $ROOT/etc/kubernetes/kubelet.conf
  echo "Your Kubernetes control-plane has initialized successfully!" ;;
reset) rm -rf $ROOT/etc/kubernetes/manifests $ROOT/etc/kubernetes/kubelet.conf ;;
esac
"""


def tables(*names: str) -> str:
    """Return a fake nft that lists tables."""
    listed = {"nftables": [{"table": {"family": "ip", "name": name}} for name in names]}
    return f"case $2 in list) echo '{json.dumps(listed)}' ;; esac"


@pytest.fixture
def machine(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    node.program("kubeadm", KUBEADM)
    node.program("systemctl", "echo ActiveState=active")
    node.program("ip", "true")
    monkeypatch.setattr(leftovers, "links", lambda: {"lo"})
    return node


def init(run_module: RunModule, machine: FakeNode) -> None:
    config = str(machine.path("etc/kubernetes/kubeadm.yaml"))
    assert run_module("kubeadm_init", documents=DOCUMENTS, config_path=config)["changed"]


def files(machine: FakeNode) -> set[str]:
    """Return the files of a node, ours of /run not included."""
    return {
        str(path.relative_to(machine.root)) for path in machine.root.rglob("*") if path.is_file()
    } - {"run/kubeadm.lock"}


@pytest.mark.parametrize("theirs", THEIRS)
def test_what_was_there_before_kubeadm_began_outlives_a_reset(
    run_module: RunModule, machine: FakeNode, theirs: str
) -> None:
    machine.write(theirs, "theirs")
    init(run_module, machine)
    for ours in THEIRS.values():
        if not theirs.startswith("var/lib/etcd") or "etcd" not in ours:
            machine.write(ours, "ours")
    run_module("kubeadm_reset")
    assert machine.path(theirs).read_text() == "theirs"
    others = {"etc/cni/net.d/other", "opt/cni/bin/bridge"}
    assert files(machine) == {theirs, *others}, "no name of ours, so it stays too"
    assert run_module("kubeadm_reset")["changed"] is False


@pytest.mark.parametrize("theirs", THEIRS)
def test_without_a_record_nothing_is_removed(
    run_module: RunModule, machine: FakeNode, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Least of all the data of an etcd that no Kubernetes ever used."""
    machine.write(theirs, "theirs")
    (machine.notes / "iptables").write_text(STATE.format("CNI"))
    machine.program("nft", tables("kube-proxy"))
    monkeypatch.setattr(leftovers, "links", lambda: {"lo", "cni0", "flannel.1"})
    result = run_module("kubeadm_reset")
    assert (result["changed"], result["changes"]) == (False, [])
    assert machine.path(theirs).read_text() == "theirs"
    assert machine.calls("kubeadm") == machine.calls("ip ") == []
    assert (machine.notes / "iptables").read_text() == STATE.format("CNI")
    run_module("kubeadm_reset", force=True)
    assert machine.path(theirs).exists() is (theirs not in THEIRS)
    assert machine.calls("ip ") == ["ip link delete cni0", "ip link delete flannel.1"]
    assert (machine.notes / "iptables").read_text() == BARE


@pytest.mark.parametrize(
    "trace", ["admin.conf", "kubelet.conf", "manifests/kube-apiserver.yaml", "pki/ca.crt"]
)
def test_a_kubernetes_of_others_is_refused_and_stays(
    run_module: RunModule, machine: FakeNode, trace: str
) -> None:
    path = machine.write("etc/kubernetes/" + trace, "theirs")
    said = run_module("kubeadm_reset", fails=True)["msg"]
    assert "not made by these roles" in said
    assert str(machine.path("etc/kubernetes")) in said
    assert path.read_text() == "theirs"
    assert machine.calls("kubeadm") == []
    run_module("kubeadm_reset", force=True)
    assert not path.exists()


def test_one_that_was_taken_over_is_removed_and_an_etcd_beside_it_stays(
    run_module: RunModule, machine: FakeNode
) -> None:
    machine.write("var/lib/etcd/member/snap/db", "theirs")
    machine.write("etc/kubernetes/kubelet.conf")
    machine.write("var/lib/kubelet/pki/kubelet-client-current.pem")
    document = {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "JoinConfiguration"}
    assert run_module("kubeadm_join", document=document)["changed"] is False
    run_module("kubeadm_reset")
    assert files(machine) == {"var/lib/etcd/member/snap/db"}
    assert "--skip-phases=remove-etcd-member" in machine.calls("kubeadm reset")[0]


def test_a_half_done_run_leaves_what_was_there_before_the_first_one(
    run_module: RunModule, machine: FakeNode
) -> None:
    """What the first try itself left does not count as there before."""
    machine.write("var/lib/etcd/member/snap/db", "theirs")
    machine.program("kubeadm", 'case "$1" in init) exit 1 ;; esac')
    config = str(machine.path("etc/kubernetes/kubeadm.yaml"))
    run_module("kubeadm_init", documents=DOCUMENTS, config_path=config, fails=True)
    machine.write("var/lib/cni/networks/cbr0/10.244.0.2", "ours")
    (machine.notes / "iptables").write_text(STATE.format("KUBE"))
    machine.program("kubeadm", KUBEADM)
    init(run_module, machine)
    run_module("kubeadm_reset")
    assert files(machine) == {"var/lib/etcd/member/snap/db"}
    assert (machine.notes / "iptables").read_text() == BARE


def test_a_reset_that_was_killed_is_finished_by_the_next(
    run_module: RunModule, machine: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    init(run_module, machine)
    machine.write("var/lib/cni/results/x", "ours")

    def killed(path: str) -> None:
        raise KeyboardInterrupt(path)

    with monkeypatch.context() as patched:
        patched.setattr(leftovers, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            run_module("kubeadm_reset")
    assert kubeadm.Record().value
    run_module("kubeadm_reset")
    assert files(machine) == set()


@pytest.mark.parametrize("name", ["KUBE", "FLANNEL", "CNI"])
def test_chains_links_and_tables_that_were_there_before_stay(
    run_module: RunModule, machine: FakeNode, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Podman and others use the same plugins, and so the same names."""
    (machine.notes / "iptables").write_text(STATE.format(name))
    machine.program("nft", tables("kube-proxy"))
    monkeypatch.setattr(leftovers, "links", lambda: {"lo", "cni0"})
    init(run_module, machine)
    monkeypatch.setattr(leftovers, "links", lambda: {"lo", "cni0", "flannel.1"})
    machine.program("nft", tables("kube-proxy", "flannel-ipv4", "mine"))
    text = STATE.format(name).replace("COMMIT", ":KUBE-Y - [0:0]\n-A KUBE-Y -j RETURN\nCOMMIT")
    (machine.notes / "iptables").write_text(text)
    run_module("kubeadm_reset")
    assert (machine.notes / "iptables").read_text() == STATE.format(name)
    assert machine.calls("ip ") == ["ip link delete flannel.1"]
    deleted = [call for call in machine.calls("nft") if "delete" in call]
    assert deleted == ["nft delete table ip flannel-ipv4"]


def test_check_mode_tells_what_would_go(run_module: RunModule, machine: FakeNode) -> None:
    init(run_module, machine)
    machine.forget()
    machine.write("var/lib/cni/results/x", "ours")
    before = files(machine)
    checked = run_module("kubeadm_reset", check=True)
    assert files(machine) == before
    assert machine.calls("kubeadm") == []
    done = run_module("kubeadm_reset")
    # What kubeadm itself empties needs no second removal.
    assert set(done["changes"]) <= set(checked["changes"])
    assert any("var/lib/cni" in change for change in done["changes"])
    assert done["kept"] == []


def test_packet_filter_keeps_other_rules() -> None:
    saved = (
        "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n"
        ":MINE - [0:0]\n:FLANNEL-POSTRTG - [0:0]\n"
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n'
        "-A PREROUTING -p tcp -j MINE\n"
        "-A KUBE-SERVICES -j RETURN\n"
        '-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG\n'
        "COMMIT\n"
    )
    rest = leftovers.without_kubernetes(saved)
    assert rest == (
        "*nat\n:PREROUTING ACCEPT [0:0]\n:MINE - [0:0]\n-A PREROUTING -p tcp -j MINE\nCOMMIT\n"
    )


def test_remove_keeps_a_tree_beside(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "ab").mkdir()
    leftovers.remove(str(tmp_path / "a"))
    assert (tmp_path / "ab").is_dir()
    assert not (tmp_path / "a").exists()
