"""The provider ssh over machines that it did not make: a cluster, faults, and clean hosts again.

The hosts' network is a namespace of its own, so every command runs inside that namespace.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube.state.store import StateStore
from tests.e2e.bare import Bare
from tests.e2e.conftest import NOTHING, Cli, wait_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.nodes

WORKER = "w1.lab.example"
NAME = "sshp"
PORT = 2222
AUTHORITY = Path(__file__).parents[2] / "data" / "trust" / "one.pem"
AUDIT = "/etc/kubernetes/audit/policy.yaml"
POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"
KUBEADM = {
    "clusterConfiguration": {
        "apiServer": {
            "extraArgs": [
                {"name": "audit-policy-file", "value": AUDIT},
                {"name": "audit-log-path", "value": "/var/log/kubernetes/audit.log"},
            ],
            "extraVolumes": [
                {"name": "audit", "hostPath": AUDIT, "mountPath": AUDIT, "pathType": "File"},
                {
                    "name": "log",
                    "hostPath": "/var/log/kubernetes",
                    "mountPath": "/var/log/kubernetes",
                    "pathType": "DirectoryOrCreate",
                },
            ],
        }
    },
    "joinConfiguration": {"nodeRegistration": {"kubeletExtraArgs": [{"name": "v", "value": "3"}]}},
    "patches": [{"name": "kubeletconfiguration+merge.yaml", "content": "maxPods: 77"}],
}
"""Settings that need files of the user, and a list in which ours must stay."""

# A user with sudo and one without, and a second port.
USERS = f"""
set -e
for user in admin visitor; do
  useradd -m -s /bin/sh $user
  install -d -m 700 -o $user /home/$user/.ssh
  install -m 600 -o $user /root/.ssh/authorized_keys /home/$user/.ssh/authorized_keys
done
echo 'admin ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/admin
printf 'Port 22\\nPort {PORT}\\n' >/etc/ssh/sshd_config.d/20-ports.conf
systemctl restart ssh
"""


@dataclass(frozen=True)
class InsideCli(Cli):
    """The CLI run where the hosts can be reached."""

    inside: tuple[str, ...] = field(default=())

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [*self.inside, *super().argv(*arguments)]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Bare]:
    """Return two machines without Kubernetes, ``a`` and ``b``."""
    made = Bare("sshp-bare", tmp_path_factory.mktemp("hosts"), shared_cache)
    try:
        made.make("a", "b")
        made.run("b", USERS)
        assert [made.left(node) for node in ("a", "b")] == [[], []]
        yield made
    finally:
        made.remove()
    assert wait_gone(made.name) == NOTHING


@pytest.fixture(scope="module")
def user(hosts: Bare, tmp_path_factory: pytest.TempPathFactory) -> InsideCli:
    home = tmp_path_factory.mktemp("user") / "omk"
    return InsideCli(home, hosts.cache, tuple(hosts.inside))


def description(hosts: Bare) -> dict[str, Any]:
    """Return the cluster file: root on one host, a user with sudo and another port on the other."""
    first = {"address": hosts.address("a"), "hostKey": hosts.host_key("a")}
    second = {"address": hosts.address("b"), "hostKey": hosts.host_key("b")}
    second |= {"port": PORT, "user": "admin", "become": True, "name": WORKER}
    return {
        "apiVersion": "ohmykube.dev/v1",
        "kind": "Cluster",
        "metadata": {"name": NAME},
        "spec": {
            "provider": {"name": "ssh", "ssh": {"identityFile": str(hosts.key)}},
            "nodes": {"controlPlane": {"hosts": [first]}, "workers": {"hosts": [second]}},
        },
    }


def written(directory: Path, document: dict[str, Any]) -> str:
    """Write a cluster file and return its path."""
    path = directory / "cluster.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def worker(document: dict[str, Any]) -> dict[str, Any]:
    """Return the host of the worker."""
    host: dict[str, Any] = document["spec"]["nodes"]["workers"]["hosts"][0]
    return host


def another_key(hosts: Bare, document: dict[str, Any], _: Path) -> None:
    worker(document)["hostKey"] = hosts.host_key("a")


def without_sudo(_hosts: Bare, document: dict[str, Any], _: Path) -> None:
    worker(document)["user"] = "visitor"


def without_root(_hosts: Bare, document: dict[str, Any], _: Path) -> None:
    worker(document)["become"] = False


def no_such_user(_hosts: Bare, document: dict[str, Any], _: Path) -> None:
    worker(document)["user"] = "stranger"


def key_of_nobody(_hosts: Bare, document: dict[str, Any], directory: Path) -> None:
    key = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    worker(document)["identityFile"] = str(key)


def closed_port(_hosts: Bare, document: dict[str, Any], _: Path) -> None:
    worker(document)["port"] = 2223


def no_python(hosts: Bare, _document: dict[str, Any], _: Path) -> None:
    hosts.run("b", "mv /usr/bin/python3 /usr/bin/python3.away")


def mounts(_hosts: Bare, document: dict[str, Any], _: Path) -> None:
    document["spec"]["mounts"] = [{"host": "/etc", "node": "/mnt/etc"}]


def of_another_cluster(hosts: Bare, _document: dict[str, Any], _: Path) -> None:
    marker = json.dumps({"schema": 1, "cluster": "prod", "node": "w7", "id": "0123456789"})
    hosts.run("b", f"mkdir -p /var/lib/ohmykube; echo '{marker}' >/var/lib/ohmykube/machine.json")


MEND = """
[ ! -e /usr/bin/python3.away ] || mv /usr/bin/python3.away /usr/bin/python3
rm -rf /var/lib/ohmykube
"""


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (another_key, (12, "is not the one", "find out which", "do not connect")),
        (without_sudo, (7, f"sudo on node {WORKER}", "/etc/sudoers.d")),
        (without_root, (7, f"{WORKER}: root rights", "become: true")),
        (no_such_user, (14, "refuses our ssh key", "authorized_keys")),
        (key_of_nobody, (14, "refuses our ssh key", "identityFile")),
        (closed_port, (14, WORKER, "cannot be reached", "Connection refused")),
        (no_python, (7, "there is no python3", "apt-get install python3")),
        (mounts, (3, "spec.mounts cannot be brought about with provider ssh", "ohmykube cp")),
        (of_another_cluster, (5, "belongs to another cluster", 'cluster "prod", node "w7"')),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_fault_is_told_and_nothing_is_touched(
    hosts: Bare,
    user: InsideCli,
    tmp_path: Path,
    fault: Callable[[Bare, dict[str, Any], Path], None],
    expected: tuple[int, *tuple[str, ...]],
) -> None:
    code, *says = expected
    document = description(hosts)
    fault(hosts, document, tmp_path)
    try:
        done = user.run("up", "-f", written(tmp_path, document), check=False, timeout=300)
    finally:
        if fault in (no_python, of_another_cluster):
            hosts.run("b", MEND)
    head, _, text = done.stderr.partition("error[")
    assert text, head
    assert done.returncode == code, text
    assert "Traceback" not in done.stderr
    assert len(text.splitlines()) <= 12
    assert "try: " in text
    for part in says:
        assert part in " ".join(text.split())
    assert [hosts.left(node) for node in ("a", "b")] == [[], []]
    assert StateStore(user.home / "state").names() == ()


@pytest.fixture(scope="module")
def up(
    hosts: Bare, user: InsideCli, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Make the cluster; give what ``up`` said and its file. Its nodes meet by their second cards.

    A cluster of its own, as its machines must not be ours.
    """
    hosts.second_network()
    document = description(hosts)
    for group, node in (("controlPlane", "a"), ("workers", "b")):
        host = document["spec"]["nodes"][group]["hosts"][0]
        host["nodeIP"] = hosts.second_address(node)
    document["spec"]["nodes"]["controlPlane"]["files"] = [{"path": AUDIT, "content": POLICY}]
    document["spec"]["nodes"]["workers"]["files"] = [{"path": "/opt/own/x", "content": "own text"}]
    document["spec"]["kubeadm"] = KUBEADM
    document["spec"]["trust"] = [str(AUTHORITY)]
    file = written(tmp_path_factory.mktemp("file"), document)
    said = json.loads(user.run("up", "-f", file, "-o", "json").stdout)
    yield {"said": said, "file": file}
    user.run("down", NAME, "--yes", check=False)


def test_up_makes_a_healthy_cluster(user: InsideCli, up: dict[str, Any]) -> None:
    assert up["said"]["changed"] is True
    status = user.json("status", NAME)
    assert (status["health"], status["provider"]) == ("healthy", "ssh")
    nodes = [(n["name"], n["role"], n["machine"], n["ready"]) for n in status["nodes"]]
    assert nodes == [
        ("cp1", "control-plane", "running", True),
        (WORKER, "worker", "running", True),
    ]


def api_nodes(user: InsideCli) -> list[dict[str, Any]]:
    """Return the Node objects, by the cluster's kubeconfig."""
    config = user.run("kubeconfig", NAME, "--path").stdout.strip()
    programs = sorted((user.home / "data" / "bin").glob("kubectl-*"))
    program = str(programs[-1]) if programs else "kubectl"
    argv = [*user.inside, program, "--kubeconfig", config, "get", "nodes", "-ojson"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return found


def test_the_kubeconfig_works_where_the_command_runs(
    hosts: Bare, user: InsideCli, up: dict[str, Any]
) -> None:
    addresses = {
        node["metadata"]["name"]: address["address"]
        for node in api_nodes(user)
        for address in node["status"]["addresses"]
        if address["type"] == "InternalIP"
    }
    assert addresses == {"cp1": hosts.second_address("a"), WORKER: hosts.second_address("b")}


def test_pods_meet_by_the_addresses_that_nodes_were_given(
    hosts: Bare, user: InsideCli, up: dict[str, Any]
) -> None:
    """The pod network goes by a node's address in the cluster, and not by its default route."""
    nodes = {node["metadata"]["name"]: node for node in api_nodes(user)}
    annotation = "flannel.alpha.coreos.com/public-ip"
    public = {name: node["metadata"]["annotations"][annotation] for name, node in nodes.items()}
    assert public == {"cp1": hosts.second_address("a"), WORKER: hosts.second_address("b")}
    for here, there in (("cp1", WORKER), (WORKER, "cp1")):
        overlay = nodes[there]["spec"]["podCIDR"].partition("/")[0]
        assert "1 received" in user.on(NAME, here, "ping", "-c1", "-W10", overlay)


def test_files_and_patches_are_there_before_kubeadm(
    hosts: Bare, user: InsideCli, up: dict[str, Any]
) -> None:
    assert '"kind":"Event"' in hosts.run("a", "head -1 /var/log/kubernetes/audit.log")
    assert hosts.run("a", f"stat -c %a {AUDIT}; cat {AUDIT}") == f"600\n{POLICY}"
    assert hosts.run("b", "cat /opt/own/x") == "own text"
    assert {node["status"]["capacity"]["pods"] for node in api_nodes(user)} == {"77"}
    flags = hosts.run("b", "cat /var/lib/kubelet/kubeadm-flags.env")
    assert "--v=3" in flags
    assert f"--node-ip={hosts.second_address('b')}" in flags


def test_a_shell_is_that_of_the_user(user: InsideCli, up: dict[str, Any]) -> None:
    for node, name in ((WORKER, "admin"), ("cp1", "root")):
        said = user.run("shell", "--name", NAME, node, "--", "id", "-un").stdout
        assert said.strip() == name


def test_programs_of_the_hosts_trust_the_authority_of_the_file(
    hosts: Bare, up: dict[str, Any]
) -> None:
    for node in ("a", "b"):
        assert AUTHORITY.read_text() in hosts.run(node, "cat /etc/ssl/certs/ca-certificates.crt")


def test_a_copy_needs_no_rights_of_the_user_but_sudo(
    hosts: Bare, user: InsideCli, up: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("text")
    user.run("cp", "--name", NAME, str(tmp_path / "file"), f"{WORKER}:new")
    assert hosts.run("b", "stat -c %U /root/new; cat /root/new; rm /root/new") == "root\ntext"
    secret = "/etc/kubernetes/kubelet.conf"
    user.run("cp", "--name", NAME, f"{WORKER}:{secret}", str(tmp_path))
    assert (tmp_path / "kubelet.conf").read_text() == hosts.run("b", f"cat {secret}")


def test_a_second_up_changes_nothing(user: InsideCli, up: dict[str, Any]) -> None:
    """Takes long, as it looks at everything on two nodes."""
    again = json.loads(user.run("up", "-f", up["file"], "-o", "json").stdout)
    assert again["changed"] is False
    assert [(node["name"], node["ready"]) for node in again["nodes"]] == [
        ("cp1", True),
        (WORKER, True),
    ]


def test_another_cluster_does_not_get_the_hosts(
    hosts: Bare, user: InsideCli, up: dict[str, Any], tmp_path: Path
) -> None:
    document = description(hosts)
    document["metadata"]["name"] = "sshp2"
    done = user.run("up", "-f", written(tmp_path, document), check=False, timeout=300)
    assert done.returncode == 5
    assert f'cluster "{NAME}"' in " ".join(done.stderr.split())
    assert [item["name"] for item in user.json("list")["items"]] == [NAME]
    assert user.json("status", NAME)["health"] == "healthy"


def test_a_cluster_with_files_is_known_by_its_name(user: InsideCli, up: dict[str, Any]) -> None:
    """What its file said once, also of files for nodes, need not be said again."""
    assert json.loads(user.run("up", NAME, "-o", "json").stdout)["changed"] is False


def test_an_inventory_file_means_the_same_cluster(
    hosts: Bare, user: InsideCli, up: dict[str, Any], tmp_path: Path
) -> None:
    """As long as the inventory can say it: pinned host keys are known_hosts' business there."""
    (tmp_path / "hosts.ini").write_text(
        f"""
        [kube_control_plane]
        cp1 ansible_host={hosts.address("a")}
        [kube_node]
        {WORKER} ansible_host={hosts.address("b")} ansible_port={PORT} ansible_user=admin
        [kube_node:vars]
        ansible_become=yes
        [all:vars]
        ansible_ssh_private_key_file={hosts.key}
        """
    )
    inventory = description(hosts)
    inventory["spec"]["provider"]["ssh"] = {"inventory": "hosts.ini"}
    del inventory["spec"]["nodes"]
    listed = description(hosts)
    for group in listed["spec"]["nodes"].values():
        del group["hosts"][0]["hostKey"]
    shown = []
    for name, document in (("inventory", inventory), ("listed", listed)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))
        shown.append(user.json("config", "show", "-f", str(path)))
    assert shown[0] == shown[1]


def test_down_leaves_the_machines_as_they_were(
    hosts: Bare, user: InsideCli, up: dict[str, Any]
) -> None:
    assert hosts.left("a"), "the look at what is left sees nothing at all"
    user.run("down", NAME, "--yes")
    assert hosts.run("b", "ls /opt/own") == ""
    for node in ("a", "b"):
        store = hosts.run(node, "cat /etc/ssl/certs/ca-certificates.crt")
        assert AUTHORITY.read_text() not in store
    assert [hosts.left(node) for node in ("a", "b")] == [[], []]
    assert [machine.state.value for machine in hosts.provider.list(hosts.name)] == ["running"] * 2
    assert hosts.run("b", "systemctl is-system-running || systemctl --failed").strip() == "running"
    assert user.json("list")["items"] == []
    again = user.run("down", NAME, "--yes", check=False)
    assert again.returncode == 0
