"""kubeadm_init, kubeadm_join and kubeadm_token against a fake kubeadm."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import api_server, kubeadm, storage
from ansible_collections.ohmykube.cluster.plugins.modules import kubeadm_init, kubeadm_join

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .conftest import FakeNode, RunModule

pytestmark = pytest.mark.linux

DATA = Path(__file__).parents[2] / "data" / "plugins"
DOCUMENTS = [{"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "InitConfiguration"}]
JOIN = {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "JoinConfiguration"}
SECRET = "abcdef.0123456789abcdef"

FAKE_KUBEADM = r"""
etc=$ROOT/etc/kubernetes
case "$1 $2" in
"init --config")
  mkdir -p $etc/manifests $etc/pki $ROOT/var/lib/etcd/member
  touch $etc/manifests/etcd.yaml
  if [ -e $NOTES/fail ]; then
    echo "[certs] Generating"
    echo "error: error execution phase wait-control-plane: no answer"
    exit 1
  fi
  cp $NOTES/ca.crt $etc/pki/ca.crt
  touch $etc/admin.conf $etc/kubelet.conf
  echo "Your Kubernetes control-plane has initialized successfully!" ;;
"join --config")
  cp "$3" $NOTES/join.yaml
  mkdir -p $etc/pki; cp $NOTES/ca.crt $etc/pki/ca.crt
  touch $etc/kubelet.conf
  echo "This node has joined the cluster:" ;;
"reset --force") rm -rf $etc/manifests $etc/pki $etc/admin.conf $etc/kubelet.conf ;;
"config validate")
  if [ -e $NOTES/invalid ]; then echo "error: unknown field \"sotrage\"" >&2; exit 1; fi ;;
"token create") echo abcdef.0123456789abcdef ;;
"init phase") cp "${7}" $NOTES/upload.yaml ;;
"join phase")
  mkdir -p $etc/pki; cp $NOTES/ca.crt $etc/pki/ca.crt
  [ "$4" != kubeconfig ] || echo '    server: https://10.0.0.11:6443' >$etc/admin.conf ;;
esac
"""


SYSTEMCTL = r"""
if [ "$1" = start ]; then rm $NOTES/stopped; fi
state=active; if [ -e $NOTES/stopped ]; then state=inactive; fi
echo "ActiveState=$state"
"""


@pytest.fixture
def machine(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    node.program("kubeadm", FAKE_KUBEADM)
    monkeypatch.setattr(api_server, "unreachable", lambda _servers, _seconds: [])
    node.program("systemctl", SYSTEMCTL)
    (node.notes / "ca.crt").write_text((DATA / "ca-rsa.crt").read_text())
    return node


def init(run_module: RunModule, machine: FakeNode, **more: object) -> dict[str, object]:
    config = str(machine.path("etc/kubernetes/kubeadm.yaml"))
    return run_module("kubeadm_init", documents=DOCUMENTS, config_path=config, **more)


def test_init_runs_once(run_module: RunModule, machine: FakeNode) -> None:
    first = init(run_module, machine)
    assert first["changed"] is True
    assert str(first["ca_cert_hash"]).startswith("sha256:c78ae93c")
    assert machine.path("etc/kubernetes/kubeadm.yaml").stat().st_mode & 0o777 == 0o600
    assert [c.split()[1] for c in machine.calls("kubeadm")] == ["config", "init"]
    machine.forget()
    second = init(run_module, machine)
    assert second["changed"] is False
    assert second["drift"] == []
    assert machine.calls("kubeadm") == []


OTHERWISE = {"kind": "KubeletConfiguration", "maxPods": 42}
OTHER_JOIN = {**JOIN, "nodeRegistration": {"kubeletExtraArgs": [{"name": "v", "value": "4"}]}}


DRIFT: dict[str, tuple[dict[str, object], dict[str, object], str]] = {
    "kubeadm_init": (
        {"documents": DOCUMENTS},
        {"documents": [*DOCUMENTS, OTHERWISE]},
        "KubeletConfiguration.maxPods",
    ),
    "kubeadm_join": (
        {"document": JOIN, "token": SECRET},
        {"document": OTHER_JOIN},
        "JoinConfiguration.nodeRegistration.kubeletExtraArgs.v",
    ),
}


@pytest.mark.parametrize("name", DRIFT)
def test_settings_that_would_not_come_about_are_named(
    run_module: RunModule, machine: FakeNode, name: str
) -> None:
    """As a warning, as a failure, or in the result alone; kubeadm does nothing about them."""
    made_with, otherwise, field = DRIFT[name]
    if name == "kubeadm_init":
        place = {"config_path": str(machine.path("etc/kubernetes/kubeadm.yaml"))}
        made_with, otherwise = made_with | place, otherwise | place
    first = run_module(name, **made_with)
    assert first["drift"] == []
    machine.forget()
    silent = run_module(name, **otherwise, drift="ignore")
    assert silent["drift"] == [field]
    # Warnings are of the whole process.
    assert f"values of {field}" not in str(silent.get("warnings"))
    refused = run_module(name, **otherwise, drift="fail", fails=True)
    assert field in str(refused["msg"])
    for check in (False, True):
        told = run_module(name, **otherwise, check=check)
        assert (told["changed"], told["drift"]) == (False, [field])
        assert field in str(told["warnings"])
    assert machine.calls("kubeadm") == []


def test_a_node_that_joined_is_not_compared_with_what_makes_a_cluster(
    run_module: RunModule, machine: FakeNode
) -> None:
    """Whichever control plane speaks for a cluster, the one that made it knows its settings."""
    join(run_module, token=SECRET)
    assert init(run_module, machine)["drift"] == []


def test_init_check_mode_touches_nothing(run_module: RunModule, machine: FakeNode) -> None:
    result = init(run_module, machine, check=True)
    assert result["changed"] is True
    assert "InitConfiguration" in json.dumps(result["diff"])
    assert machine.calls() == []
    assert not machine.path("etc/kubernetes").exists()


def test_half_done_init_is_reset_first(run_module: RunModule, machine: FakeNode) -> None:
    (machine.notes / "fail").touch()
    failed = init(run_module, machine, fails=True)
    assert failed["phase"] == "wait-control-plane"
    assert "no answer" in str(failed["msg"])
    assert "[certs] Generating" in str(failed["output"])
    (machine.notes / "fail").unlink()
    machine.forget()
    assert init(run_module, machine)["changed"] is True
    verbs = [call.split()[1] for call in machine.calls("kubeadm")]
    assert verbs == ["reset", "config", "init"]


@pytest.mark.parametrize("checks", [["NumCPU"], ["SystemVerification", "Mem", "Port-10250"]])
def test_every_check_that_failed_is_named(
    run_module: RunModule, machine: FakeNode, checks: list[str]
) -> None:
    """What kubeadm says last is that checks failed; which ones stands above it."""
    failed = "".join(f"\t[ERROR {name}]: reason of {name}\n" for name in checks)
    said = (
        "[preflight] Some fatal errors occurred:\n"
        f"{failed}[preflight] If you know what you are doing, you can make a check non-fatal\n"
        "error: error execution phase preflight: preflight checks failed\n"
    )
    (machine.notes / "said").write_text(said)
    fails = '[ "$1" != init ] || { cat $NOTES/said >&2; exit 1; }\n'
    machine.program("kubeadm", fails + FAKE_KUBEADM)
    message = str(init(run_module, machine, fails=True)["msg"])
    assert [name for name in checks if f"[ERROR {name}]: reason of {name}" in message] == checks


def test_reset_of_half_done_init_clears_etcd(run_module: RunModule, machine: FakeNode) -> None:
    (machine.notes / "fail").touch()
    init(run_module, machine, fails=True)
    machine.write("var/lib/etcd/member/old", "old")
    (machine.notes / "fail").unlink()
    init(run_module, machine)
    assert not machine.path("var/lib/etcd/member/old").exists()


def test_run_whose_caller_died_counts_as_finished(run_module: RunModule, machine: FakeNode) -> None:
    kubeadm.Record().begin("init", [], "1.36.3")
    machine.write("etc/kubernetes/kubelet.conf")
    machine.write("etc/kubernetes/admin.conf")
    machine.write("var/log/ohmykube/kubeadm-init.log", kubeadm.SUCCESS["init"] + "!\n")
    assert init(run_module, machine)["changed"] is False
    assert kubeadm.Record().finished
    assert machine.calls("kubeadm") == []


def test_ghost_is_waited_for(run_module: RunModule, machine: FakeNode) -> None:
    """The lock is inherited by kubeadm: as long as it runs, nobody else begins."""
    lock = Path(kubeadm.LOCK)
    lock.parent.mkdir(parents=True)
    code = "import fcntl,sys;f=open(sys.argv[1],'w');fcntl.flock(f,2);"
    code += "print('held',flush=True);sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as ghost:
        assert ghost.stdout is not None
        assert ghost.stdout.readline() == b"held\n"
        result = init(run_module, machine, lock_timeout=0, fails=True)
        assert "another kubeadm still runs" in str(result["msg"])
        assert machine.calls() == []
        ghost.communicate()
    assert init(run_module, machine, lock_timeout=0)["changed"] is True


def test_kubeadm_inherits_the_lock(run_module: RunModule, machine: FakeNode) -> None:
    machine.program("kubeadm", FAKE_KUBEADM + "\nls -l /proc/self/fd >$NOTES/descriptors\n")
    init(run_module, machine)
    assert kubeadm.LOCK in (machine.notes / "descriptors").read_text()


def test_invalid_configuration_is_refused_before_anything(
    run_module: RunModule, machine: FakeNode
) -> None:
    (machine.notes / "invalid").touch()
    result = init(run_module, machine, fails=True)
    assert result["phase"] == "config"
    assert "sotrage" in str(result["msg"])
    assert not kubeadm.Record().value


def test_foreign_control_plane_is_never_reset(run_module: RunModule, machine: FakeNode) -> None:
    machine.write("etc/kubernetes/pki/ca.crt", "theirs")
    machine.program("kubectl", "exit 1")
    result = init(run_module, machine, fails=True)
    assert "not ours" in str(result["msg"])
    assert machine.calls("kubeadm") == []


def test_foreign_control_plane_that_answers_is_taken_over(
    run_module: RunModule, machine: FakeNode
) -> None:
    for name in (
        "admin.conf",
        "kubelet.conf",
        *(f"manifests/kube-{n}.yaml" for n in ("apiserver", "controller-manager", "scheduler")),
    ):
        machine.write("etc/kubernetes/" + name)
    machine.program("kubectl", "exit 0")
    assert init(run_module, machine)["changed"] is False
    assert kubeadm.Record().finished


def test_missing_kubeadm_is_named(
    run_module: RunModule, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ansible_collections.ohmykube.cluster.plugins.module_utils.programs.find",
        lambda _name: None,
    )
    result = init(run_module, node, fails=True)
    assert "kubeadm is not installed" in str(result["msg"])


# Copies the file that the configuration names, while kubeadm runs.
INFO_IS_KEPT = r"""
if [ "$1" = join ]; then
  cp "$(sed -n 's/.*"kubeConfigPath": "\(.*\)".*/\1/p' "$3")" $NOTES/info.yaml
fi
"""


def join(run_module: RunModule, **more: object) -> dict[str, object]:
    return run_module("kubeadm_join", document=JOIN, **more)


def test_join_fills_in_secrets_and_leaves_none(run_module: RunModule, machine: FakeNode) -> None:
    own = kubeadm.ca_hash(str(DATA / "ca-rsa.crt"))
    result = join(run_module, token=SECRET, ca_cert_hash=own)
    assert result["changed"] is True
    document = json.loads((machine.notes / "join.yaml").read_text().replace("---\n", ""))
    assert document["discovery"]["bootstrapToken"] == {"token": SECRET, "caCertHashes": [own]}
    config = machine.calls("kubeadm join")[0].split()[3]
    assert not Path(config).exists()
    assert SECRET not in "".join(machine.calls())
    assert join(run_module, ca_cert_hash=own)["changed"] is False


def test_join_trusts_the_authority_that_came_with_the_task(
    run_module: RunModule, machine: FakeNode
) -> None:
    """No ConfigMap has to be signed first; the file goes when kubeadm has ended."""
    machine.program("kubeadm", FAKE_KUBEADM + INFO_IS_KEPT)
    endpoint = {"apiServerEndpoint": "10.0.0.11:6443"}
    document = {**JOIN, "discovery": {"bootstrapToken": endpoint}}
    certificate = (DATA / "ca-ecdsa.crt").read_text()
    own = kubeadm.ca_hash(str(DATA / "ca-ecdsa.crt"))
    run_module(
        "kubeadm_join",
        document=document,
        token=SECRET,
        ca_cert_hash=own,
        ca_certificate=certificate,
    )
    given = json.loads((machine.notes / "join.yaml").read_text().replace("---\n", ""))
    path = given["discovery"]["file"]["kubeConfigPath"]
    assert given["discovery"] == {"file": {"kubeConfigPath": path}, "tlsBootstrapToken": SECRET}
    info = json.loads((machine.notes / "info.yaml").read_text().replace("---\n", ""))
    (cluster,) = info["clusters"]
    assert cluster["cluster"]["server"] == "https://10.0.0.11:6443"
    authority = base64.b64decode(cluster["cluster"]["certificate-authority-data"])
    assert authority == certificate.encode()
    assert "users" not in info
    assert not Path(path).exists()
    assert SECRET not in "".join(machine.calls())


def test_join_keeps_a_discovery_of_the_users_own(run_module: RunModule, machine: FakeNode) -> None:
    mine = {"apiServerEndpoint": "10.0.0.11:6443", "unsafeSkipCAVerification": True}
    document = {**JOIN, "discovery": {"bootstrapToken": mine}}
    run_module("kubeadm_join", document=document, token=SECRET, ca_certificate="any")
    given = json.loads((machine.notes / "join.yaml").read_text().replace("---\n", ""))
    assert given["discovery"] == {"bootstrapToken": {**mine, "token": SECRET}}


def test_join_as_control_plane(run_module: RunModule, machine: FakeNode) -> None:
    run_module(
        "kubeadm_join",
        document={**JOIN, "controlPlane": {}},
        token=SECRET,
        certificate_key="k" * 64,
    )
    document = json.loads((machine.notes / "join.yaml").read_text().replace("---\n", ""))
    assert document["controlPlane"] == {"certificateKey": "k" * 64}


ENDPOINT = "10.0.0.11:6443"
PLANE = {
    **JOIN,
    "controlPlane": {},
    "discovery": {"bootstrapToken": {"apiServerEndpoint": ENDPOINT}},
}


def join_plane(run_module: RunModule, **more: object) -> dict[str, object]:
    """Join as a control plane whose own address is the cluster's endpoint."""
    certificate = (DATA / "ca-ecdsa.crt").read_text()
    return run_module(
        "kubeadm_join",
        document=PLANE,
        token=SECRET,
        ca_certificate=certificate,
        api_server="10.0.0.12:6443",
        **more,
    )


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the servers that answer, to be changed; none does at first."""
    servers: list[str] = []

    def problem(server: str, _authority: str, timeout: float) -> str:
        assert timeout <= 5
        return "" if server in servers else "refused"

    monkeypatch.setattr(api_server, "problem", problem)
    return servers


def test_a_control_plane_joins_past_an_endpoint_that_is_dead(
    run_module: RunModule, machine: FakeNode, answering: list[str]
) -> None:
    """The first control plane was lost, and its address is the endpoint of the cluster."""
    kept = 'if [ "$1 $2" = "join --config" ]; then cp $ROOT/etc/kubernetes/admin.conf $NOTES/; fi\n'
    machine.program("kubeadm", kept + INFO_IS_KEPT + FAKE_KUBEADM)
    assert join_plane(run_module)["changed"] is True
    verbs = [call.split()[1:5] for call in machine.calls("kubeadm join")]
    assert [words[:2] for words in verbs] == [
        ["join", "phase"],
        ["join", "phase"],
        ["join", "--config"],
    ]
    assert [words[3] for words in verbs[:2]] == ["download-certs", "kubeconfig"]
    info = json.loads((machine.notes / "info.yaml").read_text().replace("---\n", ""))
    assert info["clusters"][0]["cluster"]["server"] == "https://10.0.0.12:6443"
    meanwhile = (machine.notes / "admin.conf").read_text()
    assert api_server.server_in(meanwhile) == "10.0.0.12:6443"
    admin = machine.path("etc/kubernetes/admin.conf")
    assert api_server.server_in(admin.read_text()) == ENDPOINT
    assert admin.stat().st_mode & 0o777 == 0o600
    assert "endpoint" not in kubeadm.Record().value


def test_a_control_plane_joins_by_the_endpoint_where_it_answers(
    run_module: RunModule, machine: FakeNode, answering: list[str]
) -> None:
    answering.append(ENDPOINT)
    join_plane(run_module)
    assert [call.split()[2] for call in machine.calls("kubeadm join")] == ["--config"]


def test_a_join_that_was_killed_still_ends_at_the_endpoint(
    run_module: RunModule, machine: FakeNode, answering: list[str]
) -> None:
    record = kubeadm.Record()
    record.begin("join", [], "1.36.3")
    record.note(endpoint=ENDPOINT)
    machine.write("etc/kubernetes/kubelet.conf")
    admin = machine.write("etc/kubernetes/admin.conf", "    server: https://10.0.0.12:6443\n")
    machine.write("var/log/ohmykube/kubeadm-join.log", kubeadm.SUCCESS["join"] + ":\n")
    assert join_plane(run_module, check=True)["changed"] is False
    assert api_server.server_in(admin.read_text()) == "10.0.0.12:6443"
    assert join_plane(run_module)["changed"] is False
    assert api_server.server_in(admin.read_text()) == ENDPOINT
    assert machine.calls("kubeadm") == []


def test_a_worker_keeps_to_the_endpoint(
    run_module: RunModule, machine: FakeNode, answering: list[str]
) -> None:
    """Where it was discovered is where its kubelet stays."""
    machine.program("kubeadm", INFO_IS_KEPT + FAKE_KUBEADM)
    document = {name: value for name, value in PLANE.items() if name != "controlPlane"}
    certificate = (DATA / "ca-ecdsa.crt").read_text()
    run_module(
        "kubeadm_join",
        document=document,
        token=SECRET,
        ca_certificate=certificate,
        api_server="10.0.0.12:6443",
    )
    info = json.loads((machine.notes / "info.yaml").read_text().replace("---\n", ""))
    assert info["clusters"][0]["cluster"]["server"] == f"https://{ENDPOINT}"


def test_what_others_made_of_a_node_is_not_made_anew(
    run_module: RunModule, machine: FakeNode
) -> None:
    """A control plane that has joined is no half-done init, and the other way round."""
    join(run_module, token=SECRET)
    machine.forget()
    assert init(run_module, machine)["changed"] is False
    kubeadm.Record().begin("init", [], "1.36.3")
    machine.write("var/log/ohmykube/kubeadm-init.log", kubeadm.SUCCESS["init"])
    assert join(run_module, token=SECRET)["changed"] is False
    assert kubeadm.Record().value["action"] == "init"
    assert machine.calls("kubeadm") == []


def test_join_without_token(run_module: RunModule, machine: FakeNode) -> None:
    assert "no token was given" in str(join(run_module, fails=True)["msg"])
    assert join(run_module, check=True)["changed"] is True
    assert machine.calls("kubeadm join") == []


def test_join_refuses_node_of_another_cluster(run_module: RunModule, machine: FakeNode) -> None:
    join(run_module, token=SECRET)
    other = kubeadm.ca_hash(str(DATA / "ca-ecdsa.crt"))
    said = str(join(run_module, ca_cert_hash=other, fails=True)["msg"])
    assert "belongs to another cluster" in said
    assert other in said
    assert "cluster_reset" not in said, "no advice that destroys"


NODES = json.dumps({"items": [{"metadata": {"name": name}} for name in ("w1", "cp1")]})


def test_token(run_module: RunModule, machine: FakeNode) -> None:
    machine.write("etc/kubernetes/admin.conf")
    machine.write("etc/kubernetes/pki/ca.crt", (DATA / "ca-ecdsa.crt").read_text())
    machine.program("kubectl", f"echo '{NODES}'")
    result = run_module("kubeadm_token", certificates=True)
    assert result["token"] == SECRET
    assert result["nodes"] == ["cp1", "w1"]
    assert str(result["ca_cert_hash"]).startswith("sha256:eb185c0c")
    assert result["ca_certificate"] == (DATA / "ca-ecdsa.crt").read_text()
    uploaded = json.loads((machine.notes / "upload.yaml").read_text().replace("---\n", ""))
    assert uploaded["certificateKey"] == result["certificate_key"]
    assert str(result["certificate_key"]) not in "".join(machine.calls())


@pytest.mark.parametrize(
    ("listens", "told"),
    [
        ("10.0.0.9:6443", {"advertiseAddress": "10.0.0.9", "bindPort": 6443}),
        ("[fd00:10::b]:7443", {"advertiseAddress": "fd00:10::b", "bindPort": 7443}),
        ("", None),
    ],
)
def test_certificates_are_uploaded_through_the_nodes_own_api_server(
    run_module: RunModule, machine: FakeNode, listens: str, told: dict[str, object] | None
) -> None:
    """Not at the address with the default route, which kubeadm takes of itself."""
    machine.write("etc/kubernetes/admin.conf")
    machine.write("etc/kubernetes/pki/ca.crt", (DATA / "ca-ecdsa.crt").read_text())
    annotation = "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint"
    text = f"metadata:\n  annotations:\n    {annotation}: {json.dumps(listens)}\n"
    machine.write("etc/kubernetes/manifests/kube-apiserver.yaml", text if listens else "")
    machine.program("kubectl", f"echo '{NODES}'")
    run_module("kubeadm_token", certificates=True)
    uploaded = json.loads((machine.notes / "upload.yaml").read_text().replace("---\n", ""))
    assert uploaded.get("localAPIEndpoint") == told


def test_a_token_that_is_not_made_tells_what_is_no_secret(
    run_module: RunModule, machine: FakeNode
) -> None:
    machine.write("etc/kubernetes/admin.conf")
    machine.write("etc/kubernetes/pki/ca.crt", (DATA / "ca-ecdsa.crt").read_text())
    machine.program("kubectl", f"echo '{NODES}'")
    result = run_module("kubeadm_token", check=True)
    assert (result["token"], result["nodes"]) == ("", ["cp1", "w1"])
    assert machine.calls("kubeadm") == []
    machine.program("kubectl", "echo refused >&2; exit 1")
    assert "refused" in str(run_module("kubeadm_token", fails=True))


@pytest.mark.parametrize("phase", ["token create", "init phase upload-certs"])
def test_a_reason_holds_no_secret(run_module: RunModule, machine: FakeNode, phase: str) -> None:
    """Whatever kubeadm prints before it fails: the reason is told where all else is hidden."""
    key = "0123456789abcdef" * 4
    machine.write("etc/kubernetes/admin.conf")
    machine.write("etc/kubernetes/pki/ca.crt", (DATA / "ca-ecdsa.crt").read_text())
    machine.program("kubectl", f"echo '{NODES}'")
    machine.program(
        "kubeadm",
        f'case "$*" in "{phase}"*) echo "made {SECRET}, {key}: etcd is full"; exit 1 ;; esac; '
        f"echo {SECRET}",
    )
    told = run_module("kubeadm_token", certificates=True, fails=True)
    text = f"{told['msg']} {told['output']}"
    assert f"kubeadm {phase} failed" in text
    assert "made (a token), (a key): etcd is full" in text
    assert SECRET not in str(told)
    assert key not in str(told)


def test_token_needs_a_control_plane(run_module: RunModule, node: FakeNode) -> None:
    assert "no control plane" in str(run_module("kubeadm_token", fails=True)["msg"])
    assert run_module("kubeadm_token", check=True)["token"] == ""


def test_failed_phase_falls_back_to_the_last_one_seen() -> None:
    assert kubeadm.failed_phase("[certs] x\n[etcd-join] y\n") == "etcd-join"
    assert kubeadm.failed_phase("nothing") == ""


def test_damaged_record_is_no_record(node: FakeNode) -> None:
    node.write("var/lib/ohmykube/kubeadm.json", "{")
    assert not kubeadm.Record().begun
    assert storage.read_json(kubeadm.RECORD, {}) == {}


def test_a_kubelet_that_somebody_stopped_is_started(
    run_module: RunModule, machine: FakeNode
) -> None:
    init(run_module, machine)
    (machine.notes / "stopped").touch()
    machine.forget()
    config = str(machine.path("etc/kubernetes/kubeadm.yaml"))
    run_module("kubeadm_init", documents=DOCUMENTS, config_path=config, check=True)
    assert machine.calls("systemctl start") == []
    assert init(run_module, machine)["changed"] is True
    assert machine.calls("systemctl start") == ["systemctl start -- kubelet.service"]
    assert init(run_module, machine)["changed"] is False


ETCD = ["10.0.0.11:2379", "10.0.0.11:2380"]
WORKER = {key: value for key, value in PLANE.items() if key != "controlPlane"}


@pytest.mark.parametrize("shut", [[ENDPOINT], ETCD[:1], ETCD[1:], [ENDPOINT, *ETCD]])
@pytest.mark.parametrize("why", ["timed out", "Connection refused", "No route to host"])
def test_ports_that_are_shut_are_named_before_kubeadm_runs(
    run_module: RunModule,
    machine: FakeNode,
    monkeypatch: pytest.MonkeyPatch,
    shut: list[str],
    why: str,
) -> None:
    """All at once: those of the API server, and of etcd for a control plane."""
    asked: list[tuple[list[str], float]] = []

    def unreachable(servers: Iterable[str], seconds: float) -> list[tuple[str, str]]:
        asked.append((list(servers), seconds))
        return [(server, why) for server in servers if server in shut]

    monkeypatch.setattr(api_server, "unreachable", unreachable)
    given = {"token": SECRET, "etcd_servers": ETCD}
    said = str(run_module("kubeadm_join", document=PLANE, fails=True, **given)["msg"])
    assert why in said
    for server in (ENDPOINT, *ETCD):
        host, _, port = server.rpartition(":")
        assert (f"port {port} of {host}" in said) is (server in shut)
        assert (f"at {server}: {why}" in said) is (server in shut)
    ((servers, seconds),) = asked
    assert (servers, seconds <= 20) == ([ENDPOINT, *ETCD], True)
    assert machine.calls("kubeadm join") == []
    assert not kubeadm.Record().value, "the next run has nothing to undo"


def test_a_worker_needs_no_etcd(
    run_module: RunModule, machine: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(api_server, "unreachable", lambda servers, _seconds: asked.extend(servers))
    run_module("kubeadm_join", document=WORKER, token=SECRET, etcd_servers=ETCD)
    assert asked == [ENDPOINT]


def test_servers_are_reached_or_the_time_runs_out() -> None:
    times = iter(range(100))
    pauses: list[float] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket() as other,  # bound, so that nobody else listens there meanwhile
    ):
        other.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in (server, other)]
        servers = [f"127.0.0.1:{port}" for port in ports]
        found = api_server.unreachable(servers, 3, lambda: next(times), pauses.append)
        other.listen()
        assert api_server.unreachable(servers, 20) == []
    assert found == [(servers[1], "Connection refused")]
    assert len(pauses) == 2


@pytest.mark.parametrize(
    ("document", "server", "warned"),
    [
        (PLANE, ENDPOINT, True),
        (PLANE, "10.0.0.12:6443", False),
        (WORKER, ENDPOINT, False),
    ],
)
def test_a_second_control_plane_behind_the_address_of_one_is_warned_of(
    run_module: RunModule, machine: FakeNode, document: dict[str, Any], server: str, warned: bool
) -> None:
    said = kubeadm_join.endpoint_warning(document, server)
    assert ("load balancer" in said) is warned
    joined = run_module("kubeadm_join", document=document, token=SECRET, api_server=server)
    assert not warned or any(said in str(one) for one in joined["warnings"])


@pytest.mark.parametrize("planes", [1, 2, 3])
@pytest.mark.parametrize(
    ("endpoint", "own", "alone"),
    [
        ("10.0.0.11:6443", "10.0.0.11", True),
        ("[fd00::1]:6443", "fd00::1", True),
        ("10.0.0.100:6443", "10.0.0.11", False),
        ("api.example.com:6443", "10.0.0.11", False),
    ],
)
def test_several_control_planes_behind_one_of_them_are_warned_of(
    planes: int, endpoint: str, own: str, alone: bool
) -> None:
    documents = [
        {"localAPIEndpoint": {"advertiseAddress": own}},
        {"controlPlaneEndpoint": endpoint},
    ]
    said = kubeadm_init.endpoint_warning(documents, planes)
    assert bool(said) is (alone and planes > 1)
    assert endpoint in said or not said


def test_the_warning_comes_with_the_making_of_the_cluster(
    run_module: RunModule, machine: FakeNode
) -> None:
    documents = [
        {**DOCUMENTS[0], "localAPIEndpoint": {"advertiseAddress": "10.0.0.11"}},
        {"kind": "ClusterConfiguration", "controlPlaneEndpoint": ENDPOINT},
    ]
    config = str(machine.path("etc/kubernetes/kubeadm.yaml"))
    params = {"documents": documents, "config_path": config, "control_planes": 2}
    made = run_module("kubeadm_init", **params)
    assert any("kubeadm_control_plane_endpoint" in str(one) for one in made["warnings"])
