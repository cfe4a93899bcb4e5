"""Without the CLI: the playbooks by name from wheel, clone and collection, and one role alone.

The nodes are bare, and the inventory is written by hand, as somebody with an estate of his own
would do it: plain values, own network ranges, own settings of Kubernetes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube import __version__
from ohmykube.kube import node_state
from ohmykube.model.cluster import Network
from tests.e2e import test_packaging as packaging
from tests.e2e.playbooks import Nodes, Play, bare_nodes, play

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.nodes

# The three deliveries, made as the tests of packaging make them.
source, dist, wheel, installed = (
    packaging.source,
    packaging.dist,
    packaging.wheel,
    packaging.installed,
)

NAME = "ways"
ESTATE = packaging.ROOT / "tests" / "data" / "estate"
POD_CIDR, SERVICE_CIDR = "10.42.0.0/16", "10.43.0.0/16"
MOST_FROM_BARE = 25
MOST_UNCHANGED = {"cp1": 13, "w1": 12}
"""The first control plane also applies the pod network: one task more, its role's own assertion.

Two of them, which look at the play and settle facts, run on the controller and ask no host.
"""

# Nothing here is a default. Where the artifacts come from is added below.
SETTINGS: dict[str, Any] = {
    "kubeadm_pod_cidr": POD_CIDR,
    "kubeadm_service_cidr": SERVICE_CIDR,
    "kubeadm_proxy_mode": "nftables",
    "kubeadm_kubelet_configuration": {"maxPods": 64},
    "kubeadm_cluster_configuration": {
        "apiServer": {"extraArgs": [{"name": "event-ttl", "value": "2h0m0s"}]}
    },
    "flannel_backend": "host-gw",
    "flannel_nftables": True,
}
# Of the variables of the nodes' own inventory, those that lead to the cache.
ARTIFACTS = (
    *("cache_endpoint", "containerd_sandbox_image"),
    *("kubeadm_etcd_image_tag", "kubeadm_dns_image_tag"),
    *("flannel_image", "flannel_cni_plugin_image"),
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Nodes]:
    """Return bare nodes; a process in the background serves the cache to them."""
    with bare_nodes(NAME, tmp_path_factory.mktemp("nodes"), shared_cache) as made:
        assert [made.left(node) for node in ("cp1", "w1")] == [[], []]
        yield made


# -- one role in somebody's playbook ---------------------------------------------------------------


@pytest.fixture
def estate(nodes: Nodes, source: Path, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return a copy of the estate with an inventory of one node, and what Ansible must be told."""
    copy = tmp_path / "estate"
    shutil.copytree(ESTATE, copy)
    host = {
        "ansible_host": "w1",
        "ansible_user": "root",
        "ansible_ssh_common_args": f"-F {nodes.ssh_config}",
        "ansible_python_interpreter": "/usr/bin/python3",
        "containerd_artifacts": nodes.artifacts("kube_node", "w1")["containerd_artifacts"],
        "containerd_artifact_token": nodes.shared["cache_token"],
        "containerd_artifact_token_scope": nodes.shared["cache_endpoint"],
    }
    inventory = {"appservers": {"hosts": {"app-1.example.com": host}}}
    (copy / "inventory.yml").write_text(yaml.safe_dump(inventory))
    return copy, {"ANSIBLE_COLLECTIONS_PATH": str(source / "collections")}


def test_one_role_in_a_foreign_playbook(nodes: Nodes, estate: tuple[Path, dict[str, str]]) -> None:
    """Takes long for three runs: from nothing, with another setting, away."""
    directory, env = estate
    host = "app-1.example.com"
    first = play("site.yml", "-i", "inventory.yml", directory=directory, **env)
    assert first.changed[host] > 0
    assert nodes("w1", ["systemctl", "is-active", "containerd"]).strip() == "active"
    config = nodes("w1", ["cat", "/etc/containerd/config.toml"])
    assert "max_recv_message_size = 33554432" in config
    assert "/etc/containerd/registries" in config
    assert nodes("w1", ["cat", "/etc/motd"]).startswith("This is app-1.example.com")
    # Handlers of all roles share one space: the estate's ran for the estate alone.
    assert nodes("w1", ["cat", "/run/estate-handler"]).split() == ["ran"]
    running = ["systemctl", "show", "--property=MainPID", "containerd"]
    before = nodes("w1", running)
    other = json.dumps(
        {"containerd_config_overrides": {"grpc": {"max_recv_message_size": 1 << 24}}}
    )
    second = play("site.yml", "-i", "inventory.yml", "-e", other, directory=directory, **env)
    assert second.tasks_with_changes == {
        "ohmykube.cluster.containerd : Install containerd, runc and the CNI plugins",
        "ohmykube.cluster.containerd : Restart the containerd service",
    }
    assert nodes("w1", running) != before, "it runs with what is no longer its configuration"
    assert nodes("w1", ["cat", "/run/estate-handler"]).split() == ["ran"]
    play("retire.yml", "-i", "inventory.yml", directory=directory, **env)
    assert nodes.left("w1") == []
    nodes("w1", ["rm", "/etc/motd", "/run/estate-handler"])


# -- the whole cluster, by name --------------------------------------------------------------------


@pytest.fixture(scope="module")
def inventory(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an inventory by hand: groups, how to connect, and what shall be different."""
    shared = nodes.shared
    variables = SETTINGS | {name: shared[name] for name in ARTIFACTS if name in shared}
    variables |= {
        "ansible_user": "root",
        "ansible_ssh_common_args": f"-F {nodes.ssh_config}",
        "ansible_python_interpreter": "/usr/bin/python3",
        "cache_token": shared["cache_token"],
    }

    def group(name: str, node: str) -> dict[str, Any]:
        return {"hosts": {node: nodes.artifacts(name, node)}}

    document = {
        "kube_control_plane": group("kube_control_plane", "cp1"),
        "kube_node": group("kube_node", "w1"),
        "k8s_cluster": {
            "children": {"kube_control_plane": {}, "kube_node": {}},
            "vars": variables,
        },
    }
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def from_wheel(installed: Path) -> dict[str, Any]:
    """Return how to run the playbooks of the installed wheel."""
    python = installed / "bin" / "python"
    code = "from ohmykube.kit import paths; print(paths.collections_root())"
    found = subprocess.run(
        [str(python), "-c", code],
        cwd=installed,
        env=packaging.environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert found.startswith(str(installed)), "the checkout got in the way"
    return {"directory": installed, "python": python, "ANSIBLE_COLLECTIONS_PATH": found}


@pytest.fixture(scope="module")
def from_collection(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Build the collection, install it, and return how to run its playbooks."""
    place = tmp_path_factory.mktemp("galaxy")
    galaxy = [sys.executable, "-m", "ansible", "galaxy", "collection"]
    archive = place / f"ohmykube-cluster-{__version__}.tar.gz"
    collections = str(place / "collections")
    env = packaging.environment(
        ANSIBLE_HOME=str(place / "home"), ANSIBLE_COLLECTIONS_PATH=collections
    )
    for argv in (
        [*galaxy, "build", "--output-path", str(place), str(source)],
        [*galaxy, "install", "--offline", "-p", collections, str(archive)],
    ):
        # Not in the checkout: its ansible.cfg leads to the collection itself.
        subprocess.run(argv, env=env, cwd=place, capture_output=True, timeout=300, check=True)
    return {"directory": place, "ANSIBLE_COLLECTIONS_PATH": collections}


@pytest.fixture(scope="module")
def cluster(inventory: Path, from_wheel: dict[str, Any]) -> Play:
    """Make the cluster with the wheel's playbook; return what that run did.

    A cluster of its own, as the CLI must not have come near it.
    """
    return play(packaging.PLAYBOOK, "-i", str(inventory), **from_wheel)


def test_the_wheel_makes_a_cluster_within_the_budget(nodes: Nodes, cluster: Play) -> None:
    assert set(cluster.ran) == {"cp1", "w1"}
    assert max(cluster.ran.values()) <= MOST_FROM_BARE, cluster.output
    nodes.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=100s")
    items = nodes.get("nodes")["items"]
    assert [item["metadata"]["name"] for item in items] == ["cp1", "w1"]


def test_the_settings_are_really_in_effect(nodes: Nodes, cluster: Play) -> None:
    for node in nodes.get("nodes")["items"]:
        assert node["spec"]["podCIDR"].startswith("10.42.")
        assert node["status"]["capacity"]["pods"] == "64"
    service = nodes.get("service", "kubernetes")
    assert service["spec"]["clusterIP"] == "10.43.0.1"
    assert "--event-ttl=2h0m0s" in nodes("cp1", ["pgrep", "-a", "kube-apiserver"])
    routes = nodes("cp1", ["ip", "-4", "route"])
    gateway = nodes.get("node", "w1")["status"]["addresses"][0]["address"]
    assert re.search(rf"^10\.42\.\d+\.0/24 via {re.escape(gateway)} ", routes, re.MULTILINE)
    assert "flannel" not in nodes("cp1", ["ip", "-o", "link"])


def test_services_go_through_nftables(nodes: Nodes, cluster: Play) -> None:
    for node in ("cp1", "w1"):
        assert "10.43.0.1" in nodes(node, ["nft", "list", "table", "ip", "kube-proxy"])
        assert "KUBE-SERVICES" not in nodes(node, ["iptables-save"])
    nodes.kubectl("rollout", "status", "deployment/coredns", "-nkube-system", "--timeout=100s")
    network = Network(service_cidr=SERVICE_CIDR)
    for node in ("cp1", "w1"):
        argv = [shlex.quote(word) for word in node_state.argv(network, differences=False)]
        answer = nodes(node, argv, node_state.program())
        assert node_state.parse(node, answer).dns_answers


def unchanged(done: Play) -> None:
    """Check that a run changed nothing and kept to the budget."""
    assert done.changed == {"cp1": 0, "w1": 0}, done.output
    for node, most in MOST_UNCHANGED.items():
        assert done.ran[node] <= most, done.output


def test_the_collection_again_changes_nothing(
    inventory: Path, cluster: Play, from_collection: dict[str, Any]
) -> None:
    """Takes long, as a playbook that changes nothing still looks at everything."""
    done = play(packaging.PLAYBOOK, "-i", str(inventory), **from_collection)
    assert done.changed == {"cp1": 0, "w1": 0}, done.output
    for node, most in MOST_UNCHANGED.items():
        assert done.ran[node] <= most, done.output


def content(collection: Path) -> dict[str, str]:
    """Return the sum of every file that a playbook may use, by its place in the collection."""
    return {
        str(path.relative_to(collection)): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in ("meta", "playbooks", "plugins", "roles")
        for path in (collection / part).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_wheel_clone_and_collection_hold_the_same(
    source: Path, from_wheel: dict[str, Any], from_collection: dict[str, Any]
) -> None:
    """So what one of them did on nodes the others do."""
    found = [
        content(Path(each["ANSIBLE_COLLECTIONS_PATH"]) / "ansible_collections/ohmykube/cluster")
        for each in (from_wheel, from_collection)
    ]
    assert "playbooks/cluster_up.yml" in found[0]
    assert found == [content(source)] * 2


def test_reset_by_a_clone_leaves_clean_nodes(
    nodes: Nodes, inventory: Path, cluster: Play, source: Path
) -> None:
    """In the clone its own ansible.cfg leads to the collection.

    Takes long for two runs: the second finds nothing to do.
    """
    assert nodes.left("cp1"), "the look at what is left sees nothing at all"
    book = packaging.PLAYBOOK.replace("cluster_up", "cluster_reset")
    agreed = ("-i", str(inventory), "-e", "cluster_reset_confirmed=true")
    play(book, *agreed, directory=source)
    assert [nodes.left(node) for node in ("cp1", "w1")] == [[], []]
    again = play(book, *agreed, directory=source)
    assert again.changed == {"cp1": 0, "w1": 0}, again.output
