"""Files of the user that nodes get before kubeadm runs: what may be said, read and mounted."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.ansible import inventory
from ohmykube.ansible.variables import NodeTraits
from ohmykube.config import load, node_files
from ohmykube.config.document import to_document
from ohmykube.errors import ConfigError
from ohmykube.model.machine import Machine, MachineState

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.model.cluster import Cluster

AUDIT = "/etc/kubernetes/audit/policy.yaml"


def text(spec: dict[str, Any]) -> str:
    header = {"apiVersion": "ohmykube.dev/v1", "kind": "Cluster"}
    return json.dumps({**header, "spec": spec})


def files(*entries: Any, group: str = "controlPlane") -> dict[str, Any]:
    return {"nodes": {group: {"files": list(entries)}}}


def problems(spec: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load.load_text(text(spec), "c.yaml")
    return list(error.value.problems)


def loaded(directory: Path, spec: dict[str, Any]) -> Cluster:
    (directory / "cluster.yaml").write_text(text(spec))
    return load.load_file(directory / "cluster.yaml")


@pytest.mark.parametrize("group", ["controlPlane", "workers"])
def test_a_text_stands_in_the_file_or_beside_it(tmp_path: Path, group: str) -> None:
    (tmp_path / "policy.yaml").write_text("apiVersion: audit.k8s.io/v1\n")
    cluster = loaded(
        tmp_path,
        files(
            {"path": AUDIT, "source": "policy.yaml", "mode": "640"},
            {"path": "/opt/b", "content": "é"},
            group=group,
        ),
    )
    nodes = cluster.control_planes if group == "controlPlane" else cluster.workers
    assert [node.files for node in cluster.nodes if node not in nodes] == [()] * (
        len(cluster.nodes) - len(nodes)
    )
    for node in nodes:
        first, second = node.files
        assert (first.path, first.mode, first.content) == (
            AUDIT, "0640", "apiVersion: audit.k8s.io/v1\n",
        )  # fmt: skip
        assert (second.mode, second.sha256) == ("0600", hashlib.sha256("é".encode()).hexdigest())


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("text", "must be a mapping"),
        ({"content": "x"}, "must have path"),
        ({"path": "/etc/a"}, "content, or source"),
        ({"path": "/etc/a", "content": "x", "source": "y"}, "not both"),
        ({"path": "/etc/a", "content": 7}, "must have text as content"),
        ({"path": "/etc/a", "content": "x", "mod": "0644"}, 'did you mean "mode"'),
        ({"path": "/etc/a", "content": "x", "mode": "rw"}, "mode such as"),
        ({"path": "/etc/a", "content": "x", "mode": "0999"}, "mode such as"),
        ({"path": "/etc/a", "sha256": "0" * 64}, "content, or source"),
        ({"path": "etc/a", "content": "x"}, "absolute"),
        ({"path": "/etc/../a", "content": "x"}, "absolute"),
        ({"path": "/etc//a", "content": "x"}, "absolute"),
        ({"path": "/etc/a/", "content": "x"}, "absolute"),
        ({"path": "/etc/a", "source": "absent.yaml"}, "cannot be read"),
        ({"path": "/etc/a", "content": "x", "sha256": "0" * 64}, "has the sha256"),
        ({"path": "/etc/kubernetes/admin.conf", "content": "x"}, "its own files"),
        *(({"path": f"{one}/x", "content": "x"}, "must not be") for one, _ in node_files.OURS),
        *(({"path": one, "content": "x"}, "must not be") for one, _ in node_files.OURS),
    ],
)
def test_what_cannot_be_put_there_is_told_at_once(entry: Any, says: str) -> None:
    (problem,) = problems(files(entry))
    assert problem.startswith("spec.nodes.controlPlane.files")
    assert says in problem


def test_one_path_has_one_text() -> None:
    (problem,) = problems(
        files({"path": "/etc/a", "content": "1"}, {"path": "/etc/a", "content": ""})
    )
    assert 'has "/etc/a" 2 times' in problem


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"\xff", "UTF-8"), (b"x" * (node_files.LARGEST_BYTES + 1), "at most 256 KiB")],
)
def test_a_local_file_is_text_of_some_size(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, files({"path": "/etc/a", "source": "f"}))
    (problem,) = error.value.problems
    assert "files[0].source" in problem
    assert says in problem


NAMES = {
    "kube-apiserver.yaml": True,
    "kube-apiserver0+merge.yaml": True,
    "kube-controller-manager-a+strategic.json": True,
    "etcd+json.yaml": True,
    "kubeletconfiguration+json.json": True,
    "corednsdeployment.yaml": True,
    "kubelet.yaml": False,
    "kube-apiserver": False,
    "kube-apiserver.yml": False,
    "kube-apiserver+patch.yaml": False,
    "../etcd.yaml": False,
    "kube-proxy.yaml": False,
}


@pytest.mark.parametrize("name", NAMES)
def test_patches_have_names_that_kubeadm_reads(name: str) -> None:
    """kubeadm passes over a file whose name it does not know."""
    spec = {"kubeadm": {"patches": [{"name": name, "content": "{}"}]}}
    if NAMES[name]:
        (patch,) = load.load_text(text(spec), "c.yaml").cluster.kubeadm.patches
        assert (patch.path, patch.content) == (name, "{}")
    else:
        (problem,) = problems(spec)
        assert "spec.kubeadm.patches[0]" in problem
        assert "must have a name" in problem


def test_a_patch_is_yaml() -> None:
    spec = {"kubeadm": {"patches": [{"name": "etcd.yaml", "content": "a: [1"}]}}
    (problem,) = problems(spec)
    assert "must be YAML or JSON" in problem


@pytest.mark.parametrize("section", ["initConfiguration", "joinConfiguration"])
def test_patches_are_in_one_place(section: str) -> None:
    own = {section: {"patches": {"directory": "/etc/mine"}}}
    load.load_text(text({"kubeadm": own}), "c.yaml")
    (problem,) = problems({"kubeadm": {**own, "patches": [{"name": "etcd.yaml", "content": ""}]}})
    assert "does not go with spec.kubeadm.patches" in problem


def volume(place: str, kind: str) -> dict[str, Any]:
    return {"name": "v", "hostPath": place, "mountPath": "/m", "pathType": kind}


def mounting(component: str, *volumes: dict[str, Any]) -> dict[str, Any]:
    return {"clusterConfiguration": {component: {"extraVolumes": list(volumes)}}}


@pytest.mark.parametrize("provider", ["auto", "nspawn", "lima", "ssh"])
@pytest.mark.parametrize("component", ["apiServer", "controllerManager", "scheduler"])
@pytest.mark.parametrize(
    ("place", "kind", "there"),
    [
        (AUDIT, "File", False),
        ("/etc/kubernetes/audit", "Directory", False),
        ("/srv/keys/", "Directory", False),
        (AUDIT, "", True),
        ("/var/log/audit", "DirectoryOrCreate", True),
        ("/var/log/audit.log", "FileOrCreate", True),
        ("/etc/kubernetes/pki/ca.crt", "File", True),
        ("/etc/kubernetes/admin.conf", "File", True),
        ("/etc/ssl/certs", "Directory", True),
        ("/usr/share/zoneinfo/UTC", "File", True),
    ],
)
def test_a_mount_of_what_nobody_puts_there_is_told_at_once(
    component: str, provider: str, *, place: str, kind: str, there: bool
) -> None:
    """On a machine that is made; a host of somebody else's may have it."""
    spec: dict[str, Any] = {
        "provider": {"name": provider},
        "kubeadm": mounting(component, volume(place, kind)),
    }
    if provider == "ssh":
        spec["nodes"] = {
            "controlPlane": {"hosts": [{"address": "192.0.2.1"}]},
            "workers": {"hosts": []},
        }
    if there or provider == "ssh":
        load.load_text(text(spec), "c.yaml")
        return
    (problem,) = problems(spec)
    assert f"clusterConfiguration.{component}.extraVolumes[0].hostPath" in problem
    assert "spec.nodes.controlPlane.files" in problem
    inside = place.rstrip("/") if kind == "File" else place.rstrip("/") + "/a"
    spec["nodes"] = files({"path": inside, "content": ""})["nodes"]
    load.load_text(text(spec), "c.yaml")


def test_each_control_plane_needs_it() -> None:
    own = {"path": AUDIT, "content": ""}
    groups = [{"names": ["a"], "files": [own]}, {"names": ["b", "c"]}]
    kubeadm = mounting("apiServer", volume(AUDIT, "File"))
    (problem,) = problems({"nodes": {"controlPlane": groups}, "kubeadm": kubeadm})
    assert "on b, c" in problem


def test_a_record_has_sums_and_no_texts(tmp_path: Path) -> None:
    """What may be a key stands in no record, plan or inventory, but in the file for secrets."""
    key = "c2VjcmV0IGtleSBvZiB0aGUgdXNlcg=="
    spec = files({"path": "/etc/key", "content": key})
    spec["kubeadm"] = {"patches": [{"name": "etcd.yaml", "content": f"a: {key}"}]}
    cluster = load.load_text(text(spec), "c.yaml").cluster
    document = to_document(cluster)
    assert key not in json.dumps(document)
    assert load.from_document(document) == cluster
    assert key not in repr(cluster)
    machines = {
        node.name: Machine(
            cluster="dev", node=node.name, state=MachineState.RUNNING, address="192.0.2.1"
        )
        for node in cluster.nodes
    }
    hosts, shared = inventory.compose(
        cluster=cluster,
        lock=None,
        machines=machines,
        access=None,
        ssh_config=None,
        node_traits=NodeTraits(system_containers=True),
    )
    path = inventory.write(tmp_path / "inventory", hosts, shared)
    assert key not in path.read_text()
    secrets = tmp_path / "inventory" / inventory.SECRETS_FILE
    assert key in secrets.read_text()
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert {key, f"a: {key}"} <= {*inventory.secrets_of(path)}
    told = inventory.compose(
        cluster=load.from_document(document),
        lock=None,
        machines=machines,
        access=None,
        ssh_config=None,
        node_traits=NodeTraits(system_containers=True),
    )
    assert "kubeadm_contents" not in told[1]
    assert [host.variables["kubeadm_files"] for host in told[0] if host.name == "cp1"] == [
        [{"path": "/etc/key", "mode": "0600", "sha256": hashlib.sha256(key.encode()).hexdigest()}]
    ]
