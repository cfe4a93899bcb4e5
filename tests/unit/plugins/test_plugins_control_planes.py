"""API servers and members of etcd, as the modules on a control plane see them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    api_server,
    etcd,
    kubeadm,
    kubectl,
)
from ansible_collections.ohmykube.cluster.plugins.module_utils import node as node_facts

from tests.tls_server import TlsServer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux

ADMIN = """apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: AAAA
    server: https://lb.example.com:6443
  name: kubernetes
"""
MANIFEST = (
    "  annotations:\n    kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: {}\n"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TlsServer]:
    with serving(tmp_path / "tls") as made:
        yield made


def control_plane(node: FakeNode, address: str = "10.0.0.11:6443") -> None:
    """Make a node what kubeadm makes of a control plane."""
    node.write("etc/kubernetes/admin.conf", ADMIN)
    node.write("etc/kubernetes/manifests/kube-apiserver.yaml", MANIFEST.format(address))


# -- the API server --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["10.0.0.11:6443", '"[fd00::1]:6443"'])
def test_the_address_is_that_of_the_manifest(text: str) -> None:
    assert api_server.address_in(MANIFEST.format(text)) == text.strip('"')
    assert api_server.address_in("kind: Pod") == ""


def test_a_kubeconfig_is_aimed_at_another_server() -> None:
    assert api_server.server_in(ADMIN) == "lb.example.com:6443"
    aimed = api_server.aimed(ADMIN, "10.0.0.12:6443")
    assert aimed == ADMIN.replace("lb.example.com", "10.0.0.12")
    assert api_server.server_in("kind: Config") == ""


@pytest.mark.parametrize("code", [200, 401, 403])
def test_an_api_server_that_answers(server: TlsServer, code: int) -> None:
    server.answers["/readyz"] = (code, "ok")
    assert api_server.problem(server.address, server.authority) == ""


def test_one_that_is_not_ready_says_why(server: TlsServer) -> None:
    server.answers["/readyz"] = (500, "[+]ping ok\n[-]etcd failed: reason withheld\n")
    said = api_server.problem(server.address, server.authority)
    assert said == f"{server.address} is not ready (500: etcd)"


def test_one_that_does_not_answer(server: TlsServer, tmp_path: Path) -> None:
    with serving(tmp_path / "other") as other:
        stranger = other.authority
    said = api_server.problem(server.address, stranger)
    assert "does not answer" in said
    assert "certificate" in said.lower()
    assert "Connection refused" in api_server.problem(other.address, stranger)
    assert "cannot be read" in api_server.problem(server.address, "no certificate")


def test_facts_of_a_control_plane(node: FakeNode, server: TlsServer) -> None:
    server.answers["/readyz"] = (200, "ok")
    control_plane(node, server.address)
    node.write("etc/kubernetes/kubelet.conf")
    node.write("etc/kubernetes/pki/ca.crt", server.authority)
    kubeadm.Record().finish("join")
    found = node_facts.gather()
    assert found["control_plane"]
    assert found["joined"]
    assert found["api_server"] == server.address
    assert found["cluster_endpoint"] == "lb.example.com:6443"
    assert (found["api_problem"], found["begun"]) == ("", "")


def test_facts_of_other_nodes(node: FakeNode) -> None:
    kubeadm.Record().begin("join", [], "1.36.3")
    found = node_facts.gather()
    assert not found["control_plane"]
    assert (found["begun"], found["api_server"], found["api_problem"]) == ("join", "", "")


def test_an_api_server_is_waited_for(
    node: FakeNode, server: TlsServer, monkeypatch: pytest.MonkeyPatch, run_module: RunModule
) -> None:
    control_plane(node, server.address)
    node.write("etc/kubernetes/pki/ca.crt", server.authority)
    answers = [(500, ""), (200, "ok")]

    def rest(_seconds: float) -> None:
        server.answers["/readyz"] = answers.pop()

    server.answers["/readyz"] = answers[0]
    monkeypatch.setattr(api_server.time, "sleep", rest)
    facts = run_module("node_info", wait_for_api=60)["ansible_facts"]["ohmykube_node"]
    assert facts["api_problem"] == ""
    assert answers == [(500, "")]


def test_kubectl_asks_the_server_of_its_own_node(node: FakeNode) -> None:
    """The endpoint may lead to the control plane that is gone."""
    node.program("kubectl", "true")
    control_plane(node)
    kubectl.Kubectl(kubeadm.ADMIN_CONFIG).run(["get", "nodes"])
    kubectl.Kubectl("/some/other.conf").run(["get", "nodes"])
    own, other = node.calls("kubectl")
    assert own.endswith("--server https://10.0.0.11:6443 get nodes")
    assert "--server" not in other


def test_a_token_is_made_at_the_server_of_the_node(run_module: RunModule, node: FakeNode) -> None:
    control_plane(node)
    node.program("kubectl", """echo '{"items": []}'""")
    node.program(
        "kubeadm",
        'case "$1" in token) cp "$4" $NOTES/used.conf; echo abcdef.0123456789abcdef ;;\n'
        "init) echo yes >$NOTES/uploaded ;; esac",
    )
    result = run_module("kubeadm_token", certificates=True)
    assert api_server.server_in((node.notes / "used.conf").read_text()) == "10.0.0.11:6443"
    used = node.calls("kubeadm token")[0].split()[4]
    assert node.calls("kubeadm init")[0].endswith(f"--kubeconfig {used}")
    assert not os.path.exists(used)  # noqa: PTH110 - a name, of a file that is gone
    assert result["endpoint"] == "lb.example.com:6443"
    assert result["api_server"] == "10.0.0.11:6443"


TOKENS = (
    'case "$1" in token) [ ! -e $NOTES/refuses ] || { echo refused >&2; exit 1; };\n'
    " echo abcdef.0123456789abcdef ;;\n"
    "init) echo yes >$NOTES/uploaded ;; esac"
)


@pytest.mark.parametrize("joining", ["nobody", "worker", "control_plane"])
@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("answers", [False, True])
def test_the_look_at_a_control_plane_brings_what_nodes_need_to_join(
    node: FakeNode,
    server: TlsServer,
    run_module: RunModule,
    joining: str,
    *,
    check: bool,
    answers: bool,
) -> None:
    """Only one that answers makes a token, only for somebody, and never in check mode."""
    control_plane(node, server.address)
    node.write("etc/kubernetes/pki/ca.crt", server.authority)
    server.answers["/readyz"] = (200, "ok") if answers else (500, "")
    node.program("kubectl", """echo '{"items": [{"metadata": {"name": "cp1"}}]}'""")
    node.program("kubeadm", TOKENS)
    found = run_module("node_info", check=check, joining=joining)
    assert found["ansible_facts"]["ohmykube_node"]["control_plane"]
    made = answers and joining != "nobody"
    assert ("joining" in found) is found["changed"] is made
    assert bool(node.calls("kubeadm token")) is (made and not check)
    assert (node.notes / "uploaded").exists() is (made and not check and joining == "control_plane")
    if made:
        assert found["joining"]["nodes"] == ["cp1"]
        assert found["joining"]["token"] == ("" if check else "abcdef.0123456789abcdef")
        assert bool(found["joining"]["certificate_key"]) is (
            not check and joining == "control_plane"
        )


def test_a_token_that_cannot_be_made_hides_nothing_of_the_look(
    node: FakeNode, server: TlsServer, run_module: RunModule
) -> None:
    control_plane(node, server.address)
    node.write("etc/kubernetes/pki/ca.crt", server.authority)
    server.answers["/readyz"] = (200, "ok")
    node.program("kubectl", """echo '{"items": []}'""")
    node.program("kubeadm", TOKENS)
    (node.notes / "refuses").touch()
    found = run_module("node_info", fails=True, joining="worker")
    assert "kubeadm" in found["msg"]
    assert found["ansible_facts"]["ohmykube_node"]["control_plane"]
    assert "joining" not in found


def test_nobody_joins_through_a_node_that_is_no_control_plane(
    node: FakeNode, run_module: RunModule
) -> None:
    node.program("kubeadm", TOKENS)
    assert "joining" not in run_module("node_info", joining="control_plane")
    assert node.calls("kubeadm") == []


# -- etcd ------------------------------------------------------------------------------------------


def member(number: int, name: str, port: int = 1, **more: Any) -> dict[str, Any]:
    """Return a member of etcd as it says of itself; its client address is 127.0.0.1:``port``."""
    return {
        "ID": str(number),
        "name": name,
        "peerURLs": [f"https://10.0.0.{number}:2380"],
        "clientURLs": [f"https://127.0.0.1:{port}"],
        **more,
    }


@pytest.fixture
def plane(node: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsServer]:
    """Give a control plane whose etcd is ``cp1``, one of three members that all answer."""
    with serving(tmp_path / "etcd", known_clients=True) as server:
        node.write("etc/kubernetes/manifests/etcd.yaml")
        pki = node.path("etc/kubernetes/pki/etcd")
        pki.mkdir(parents=True)
        shutil.copy(server.directory / "ca.crt", pki / "ca.crt")
        for kind in ("crt", "key"):
            shutil.copy(server.directory / f"client.{kind}", pki / f"healthcheck-client.{kind}")
        monkeypatch.setattr(etcd, "LOCAL", f"https://{server.address}")
        everyone = [member(n, f"cp{n}", server.port) for n in (1, 2, 3)]

        def remove(body: dict[str, str]) -> dict[str, Any]:
            everyone[:] = [one for one in everyone if one["ID"] != body["ID"]]
            return {}

        server.answers["/v3/cluster/member/list"] = lambda _body: {"members": everyone}
        server.answers["/v3/cluster/member/remove"] = remove
        server.answers["/v3/maintenance/status"] = lambda _body: {"leader": "1"}
        yield server


def listed(server: TlsServer) -> list[dict[str, Any]]:
    answer = server.answers["/v3/cluster/member/list"]
    assert callable(answer)
    found: list[dict[str, Any]] = answer(None)["members"]
    return found


def test_a_member_is_removed_once(run_module: RunModule, plane: TlsServer) -> None:
    result = run_module("etcd_member", nodes={"cp3": ""})
    assert [one["name"] for one in result["removed"]] == ["cp3"]
    assert [one["name"] for one in result["members"]] == ["cp1", "cp2"]
    assert [one["name"] for one in listed(plane)] == ["cp1", "cp2"]
    again = run_module("etcd_member", nodes={"cp3": ""})
    assert (again["changed"], again["removed"]) == (False, [])


def test_check_mode_removes_nothing(run_module: RunModule, plane: TlsServer) -> None:
    assert run_module("etcd_member", nodes={"cp3": ""}, check=True)["changed"] is True
    assert len(listed(plane)) == 3


def test_a_member_is_found_by_the_address_of_its_machine(
    run_module: RunModule, plane: TlsServer
) -> None:
    """One that never started has no name yet."""
    listed(plane)[2]["name"] = ""
    result = run_module("etcd_member", nodes={"cp3": "10.0.0.3"})
    assert [one["id"] for one in result["removed"]] == ["3"]


def test_without_a_majority_none_is_removed(run_module: RunModule, plane: TlsServer) -> None:
    listed(plane)[1]["clientURLs"] = ["https://127.0.0.1:1"]
    said = str(run_module("etcd_member", nodes={"cp3": ""}, fails=True)["msg"])
    assert "of the 2 members that stay 2 must answer, and cp2 does not" in said
    assert len(listed(plane)) == 3


def test_the_dead_one_can_be_removed(run_module: RunModule, plane: TlsServer) -> None:
    listed(plane)[2]["clientURLs"] = ["https://127.0.0.1:1"]
    assert run_module("etcd_member", nodes={"cp3": ""})["changed"] is True


def test_two_at_once_leave_a_majority_or_nothing(run_module: RunModule, plane: TlsServer) -> None:
    assert len(run_module("etcd_member", nodes={"cp2": "", "cp3": ""})["removed"]) == 2
    said = str(run_module("etcd_member", nodes={"cp1": ""}, fails=True)["msg"])
    assert "it is the last member" in said


def test_a_learner_counts_for_nothing(run_module: RunModule, plane: TlsServer) -> None:
    listed(plane).append(member(4, "", isLearner=True, clientURLs=[]))
    listed(plane)[1]["clientURLs"] = []
    assert run_module("etcd_member", nodes={"cp4": "10.0.0.4"})["changed"] is True


def test_a_member_without_a_leader_does_not_count(run_module: RunModule, plane: TlsServer) -> None:
    plane.answers["/v3/maintenance/status"] = lambda _body: {"leader": "0"}
    said = str(run_module("etcd_member", nodes={"cp3": ""}, fails=True)["msg"])
    assert "cp1 and cp2 does not" in said


def test_a_machine_made_anew_takes_the_place_of_the_old_one(
    run_module: RunModule, plane: TlsServer
) -> None:
    """At the same address nothing can be left of it, whatever a port says."""
    result = run_module("etcd_member", nodes={"cp3": "10.0.0.3"}, only_replaced=True)
    assert [one["name"] for one in result["removed"]] == ["cp3"]


def test_one_that_is_alive_elsewhere_keeps_its_place(
    run_module: RunModule, plane: TlsServer
) -> None:
    params = {"nodes": {"cp3": "10.0.0.99"}, "only_replaced": True}
    said = str(run_module("etcd_member", fails=True, **params)["msg"])
    assert "a control plane called cp3 answers at https://127.0.0.1" in said
    listed(plane)[2]["clientURLs"] = ["https://127.0.0.1:1"]
    assert run_module("etcd_member", **params)["changed"] is True


def test_without_local_members_there_is_nothing_to_do(
    run_module: RunModule, node: FakeNode
) -> None:
    assert run_module("etcd_member", nodes={"cp3": ""}) == {
        **run_module("etcd_member", nodes={"cp3": ""}),
        "changed": False,
        "removed": [],
        "members": [],
    }


def test_what_etcd_refuses_is_told(run_module: RunModule, plane: TlsServer) -> None:
    plane.answers["/v3/cluster/member/remove"] = (503, '{"message": "etcdserver: no leader"}')
    said = str(run_module("etcd_member", nodes={"cp3": ""}, fails=True)["msg"])
    assert said.endswith("refuses cluster/member/remove: etcdserver: no leader")
    plane.answers["/v3/cluster/member/list"] = (404, "no gateway")
    said = str(run_module("etcd_member", nodes={"cp3": ""}, fails=True)["msg"])
    assert said.endswith("refuses cluster/member/list: no gateway")


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("https://127.0.0.1:2379,https://10.0.0.1:2379", "https://127.0.0.1:2379"),
        ("https://[::1]:2379,https://[fd00::b]:2379", "https://[::1]:2379"),
        ("https://[fd00::b]:2379,https://[::1]:4444", "https://[::1]:4444"),
        ("https://10.0.0.1:2379", "https://127.0.0.1:2379"),
    ],
)
def test_etcd_is_asked_on_the_loopback_of_its_family(
    node: FakeNode, urls: str, expected: str
) -> None:
    node.write("etc/kubernetes/manifests/etcd.yaml", f"    - --listen-client-urls={urls}\n")
    assert etcd.local() == expected


def test_etcd_that_is_down_is_told(
    run_module: RunModule, plane: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd, "LOCAL", "https://127.0.0.1:1")
    said = str(run_module("etcd_member", nodes={"cp3": ""}, fails=True)["msg"])
    assert "etcd at https://127.0.0.1:1 does not answer: Connection refused" in said
    (plane.directory.parent / "root/etc/kubernetes/pki/etcd/healthcheck-client.crt").unlink()
    said = str(run_module("etcd_member", nodes={"cp3": ""}, fails=True)["msg"])
    assert "the certificates for etcd cannot be used" in said
