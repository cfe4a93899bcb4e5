"""One command makes a real cluster, a second one removes every trace of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.e2e import (
    changed,
    documented,
    kept_templates,
    mirrored,
    reached,
    user_images,
    web_service,
)
from tests.e2e import test_packaging as packaging
from tests.e2e.conftest import NOTHING, traces, wait_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.e2e.conftest import Cli

pytestmark = pytest.mark.nodes
START, DAY_TWO, DESCRIBE = documented.blocks("docs/index.md")
*DAY_TWO, DOWN = DAY_TWO


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory in which the documentation's commands are typed."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def cluster(cli: Cli, place: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the cluster that the documentation's first block makes, removed as it says.

    The one with three nodes: what needs several, or a cluster at all, is tested on it.
    """
    *up, last = START
    assert last == "kubectl get nodes"
    with kept_templates.used(cli, lambda: request.session.testsfailed > 0):
        documented.run(cli, up, place)
        yield "dev"
    documented.run(cli, [DOWN], place)
    assert wait_gone("dev") == NOTHING


@pytest.mark.smoke
def test_three_nodes_are_ready_from_the_host(cli: Cli, cluster: str) -> None:
    nodes = json.loads(cli.kubectl(cluster, "get", "nodes", "-ojson"))["items"]
    assert [n["metadata"]["name"] for n in nodes] == ["cp1", "w1", "w2"]
    for node in nodes:
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        assert ready["status"] == "True"
        assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.3"


@pytest.mark.smoke
def test_status_and_list_tell_the_same(cli: Cli, cluster: str) -> None:
    status = cli.json("status", cluster)
    assert status["health"] == "healthy"
    assert [(n["name"], n["role"], n["machine"]) for n in status["nodes"]] == [
        ("cp1", "control-plane", "running"),
        ("w1", "worker", "running"),
        ("w2", "worker", "running"),
    ]
    listed = {c["name"]: c for c in cli.json("list")["items"]}
    assert (listed[cluster]["nodes"], listed[cluster]["running"]) == (3, 3)


def ask_from(cli: Cli, cluster: str, pod: str) -> str:
    """Return who answered a pod's twenty requests; none may stay without an answer."""
    said = cli.kubectl(cluster, "exec", pod, "--", "/bin/sh", "-c", web_service.ASK)
    assert len(said.split()) == 20
    return said


@pytest.mark.smoke
def test_a_pod_reaches_pods_on_other_nodes_by_service_name(cli: Cli, cluster: str) -> None:
    image = cli.kubectl(
        cluster,
        "-nkube-system",
        *("get", "daemonset", "kube-proxy", "-ojsonpath={.spec.template.spec.containers[0].image}"),
    )
    cli.kubectl(cluster, "apply", "-f", "-", stdin=web_service.MANIFEST.replace("IMAGE", image))
    cli.kubectl(cluster, "rollout", "status", "daemonset/web", "--timeout=120s")
    pods = json.loads(cli.kubectl(cluster, "get", "pods", "-lapp=web", "-ojson"))["items"]
    assert {p["spec"]["nodeName"] for p in pods} == {"cp1", "w1", "w2"}
    for pod in pods:
        ask = partial(ask_from, cli, cluster, pod["metadata"]["name"])
        web_service.answers_from({"cp1", "w1", "w2"}, ask)
    cli.kubectl(cluster, "delete", "--wait=false", "daemonset/web", "service/web")


def test_two_workers_whose_pods_do_not_meet_are_told(cli: Cli, cluster: str) -> None:
    """Health is that of every pair of nodes, and not of the way to the control plane alone."""
    nodes = json.loads(cli.kubectl(cluster, "get", "nodes", "-ojson"))["items"]
    (address,) = (
        n["status"]["addresses"][0]["address"] for n in nodes if n["metadata"]["name"] == "w2"
    )
    cli.run("shell", "--name", cluster, "w1", "--", "ip", "route", "add", "blackhole", address)
    try:
        status = cli.json("status", cluster)
    finally:
        cli.run("shell", "--name", cluster, "w1", "--", "ip", "route", "del", "blackhole", address)
    assert status["health"] == "degraded"
    problems = {n["name"]: n["detail"] for n in status["nodes"]}
    assert problems == {
        "cp1": "",
        "w1": "it does not reach the pods of w2",
        "w2": "it does not reach the pods of w1",
    }
    assert cli.json("status", cluster)["health"] == "healthy"


def test_ones_own_image_runs_on_every_node(cli: Cli, cluster: str, tmp_path: Path) -> None:
    """Takes long for three loads to three nodes, and pods on each after two of them."""
    user_images.check(cli, cluster, tmp_path)


def test_pods_pull_through_the_mirror(
    cli: Cli, cluster: str, tmp_path: Path, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """Takes long for a mirror with tunnels to three nodes and a pod on each."""
    mirrored.check(cli, cluster, tmp_path, eventually)


def test_plan_tells_what_up_would_do_and_touches_nothing(cli: Cli, cluster: str) -> None:
    plan = cli.json("plan", "--name", cluster, "--exit-code")
    assert (plan["changes"], plan["refused"]) == ([], [])
    document = cli.json("up", "--name", cluster, "--workers", "3", "--plan")
    assert [(one["kind"], one["node"]) for one in document["changes"]] == [("CreateNode", "w3")]
    assert [n["name"] for n in cli.json("status", cluster)["nodes"]] == ["cp1", "w1", "w2"]


def test_limits_of_the_file_are_applied(cli: Cli, cluster: str) -> None:
    """Memory and CPU of the node are those that were asked for (the default: 2 GiB workers)."""
    limit = cli.on(cluster, "w1", "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes")
    assert 0 < int(limit) < 1 << 50
    nodes = json.loads(cli.kubectl(cluster, "get", "nodes", "-ojson"))["items"]
    seen = {node["metadata"]["name"]: node["status"]["capacity"] for node in nodes}
    assert {(size["cpu"], size["memory"]) for size in seen.values()} == {("2", "4Gi")}


def test_a_pod_that_does_not_fit_stays_pending(cli: Cli, cluster: str) -> None:
    """The scheduler counts by what the file gives nodes, and not by what the host has."""
    request = {"requests": {"memory": "4Gi"}}
    container = {"name": "c", "image": "none.invalid/x", "resources": request}
    spec = {"containers": [container], "tolerations": [{"operator": "Exists"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "big"}, "spec": spec}
    cli.kubectl(cluster, "apply", "-f", "-", stdin=json.dumps(pod))
    unscheduled = "--for=condition=PodScheduled=False"
    cli.kubectl(cluster, "wait", "pod", "big", unscheduled, "--timeout=60s")
    said = cli.kubectl(cluster, "get", "pod", "big", "-ojsonpath={.status.conditions[0].message}")
    assert "3 Insufficient memory" in said
    cli.kubectl(cluster, "delete", "pod", "big", "--wait=false")


def test_a_described_cluster_is_the_same_as_the_default_one(
    cli: Cli, cluster: str, place: Path
) -> None:
    """The documented way with a file: its template describes just what `up` made.

    Nothing differs, so no playbook is run.
    """
    assert any("config template" in command for command in DESCRIBE)
    before = cli.json("status", cluster)["nodes"]
    runs = cli.home / "state" / "clusters" / cluster / "runs"
    plays = len(list(runs.glob("*/ansible.log")))
    assert "nothing changed" in documented.run(cli, DESCRIBE, place)
    assert len(list(runs.glob("*/ansible.log"))) == plays
    assert cli.json("status", cluster)["nodes"] == before


def test_changes_of_each_kind(cli: Cli, cluster: str, tmp_path: Path) -> None:
    """Takes long for two playbooks on three nodes."""
    changed.check(cli, cluster, tmp_path / "cluster.yaml")


def test_ansible_reaches_the_nodes_without_the_cli(cli: Cli, cluster: str, tmp_path: Path) -> None:
    """The inventory plugin knows from the files of the cluster alone how to connect."""
    inventory = tmp_path / f"{cluster}.ohmykube.yml"
    inventory.write_text(f"plugin: ohmykube.cluster.cluster\ncluster: {cluster}\n")
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", inventory.name]
    done = subprocess.run(
        [*argv, "ohmykube.cluster.node_facts"],
        env={
            **cli.env,
            "ANSIBLE_COLLECTIONS_PATH": str(packaging.ROOT / "collections"),
            "ANSIBLE_NOCOLOR": "true",
        },
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    found = re.findall(r"^(\w+) +: ok=2 +changed=0 +unreachable=0 +failed=0", done.stdout, re.M)
    assert found == ["cp1", "w1", "w2"]


def test_files_go_to_a_node_and_come_back(cli: Cli, cluster: str, tmp_path: Path) -> None:
    source = tmp_path / "a: b" / "ü"
    source.parent.mkdir()
    source.write_bytes(bytes(range(256)) * 4096)
    source.chmod(0o640)
    (source.parent / "link").symlink_to(source.name)
    cli.run("cp", "--name", cluster, str(source.parent), "w1:/srv/new")
    told = cli.on(cluster, "w1", "stat", "-c", "%U %a %s", "/srv/new/ü")
    assert told.split() == ["root", "640", str(256 * 4096)]
    cli.run("cp", "--name", cluster, "w1:/srv/new/.", str(tmp_path / "back"))
    assert (tmp_path / "back" / "ü").read_bytes() == source.read_bytes()
    assert (tmp_path / "back" / "link").readlink() == (source.parent / "link").readlink()
    cli.on(cluster, "w1", "rm", "-r", "/srv/new")


@pytest.mark.smoke
def test_services_are_reached_from_the_host(
    cli: Cli, cluster: str, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """Takes long for pods on three nodes and some commands, each of which asks the cluster."""
    reached.check(cli, cluster, eventually)


def test_stop_and_start_bring_the_same_nodes_back(
    cli: Cli, cluster: str, place: Path, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """Takes long, as everything in a cluster of three nodes starts again.

    Services are at the same places of this host.
    """
    places = reached.published(cli, cluster, eventually)
    before = {n["name"]: n["address"] for n in cli.json("status", cluster)["nodes"]}
    assert any("stop" in command and "start" in command for command in DAY_TWO)
    documented.run(cli, DAY_TWO, place)
    status = cli.json("status", cluster)
    assert status["health"] == "healthy"
    assert {n["name"]: n["address"] for n in status["nodes"]} == before
    assert reached.places(cli, cluster) == places
    assert eventually(lambda: reached.all_answer(places))
    reached.removed(cli, cluster, eventually)


def test_nodes_outlive_the_command_and_the_api_is_on_loopback(cli: Cli, cluster: str) -> None:
    server = cli.kubectl(cluster, "config", "view", "-ojsonpath={.clusters[0].cluster.server}")
    assert server.startswith("https://127.0.0.1:")
    done = subprocess.run(["ip", "-o", "route"], capture_output=True, text=True, check=True)
    assert "10.88." not in done.stdout, "the host's own routes are left as they are"


def test_kubeconfig_is_the_users_alone(cli: Cli, cluster: str) -> None:
    path = cli.run("kubeconfig", cluster, "--path").stdout.strip()
    mode = subprocess.run(["stat", "-c", "%a", path], capture_output=True, text=True, check=True)
    assert mode.stdout.strip() == "600"


def executions(cli: Cli, cluster: str) -> Counter[str]:
    """Return how many commands Ansible has run on each node in the last `up -vvv`."""
    runs = cli.home / "state" / "clusters" / cluster / "runs"
    log = max(runs.glob("*/ansible.log"), key=lambda path: path.stat().st_mtime).read_text()
    assert re.findall(r"  (\w+)  recap  ", log) == ["w3"], "only the new node is in the play"
    return Counter(re.findall(r"<(\w+)> SSH: EXEC ", log))


def test_of_one_worker_more_only_that_one_is_touched(
    cli: Cli, cluster: str, tmp_path: Path
) -> None:
    """It sees the files of this host that it is to see. Takes long for a node that joins."""
    before = {n["name"]: n["address"] for n in cli.json("status", cluster)["nodes"]}
    hosts = {node: cli.on(cluster, node, "cat", "/etc/hosts") for node in before}
    description = tmp_path / "cluster.yaml"
    told = tmp_path / "a: b" / "ü"
    told.parent.mkdir()
    told.write_text("told")
    mounts = [{"host": told.parent.name, "node": "/mnt/a: b", "readOnly": True, "nodes": ["w3"]}]
    spec = {"nodes": {"workers": {"count": 3}}, "mounts": mounts}
    document = {"apiVersion": "ohmykube.dev/v1", "kind": "Cluster", "spec": spec}
    description.write_text(json.dumps({**document, "metadata": {"name": cluster}}))
    done = cli.run("up", "-f", str(description), "-vvv", "--progress", "json")
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    made = {e["node"] for e in events if e["type"] == "node" and e["activity"] == "starting"}
    assert made == {"w3"}
    commands = executions(cli, cluster)
    assert set(commands) == {"w3", "cp1"}
    assert commands["cp1"] <= 3, "a look at it, a token, and room for a node that comes back"
    assert {node: cli.on(cluster, node, "cat", "/etc/hosts") for node in before} == hosts
    status = cli.json("status", cluster)
    assert status["health"] == "healthy"
    found = {n["name"]: n["address"] for n in status["nodes"]}
    assert list(found) == ["cp1", "w1", "w2", "w3"]
    assert {node: found[node] for node in before} == before
    assert cli.json("plan", "-f", str(description))["changes"] == []
    assert cli.on(cluster, "w3", "cat", "/mnt/a: b/ü") == "told"
    kept = cli.on(cluster, "w3", "sh", "-c", "touch '/mnt/a: b/new' || echo read only")
    assert kept == "read only\n"
    assert [one.name for one in told.parent.iterdir()] == [told.name]
    spec["mounts"] = [{**mounts[0], "readOnly": False}]
    description.write_text(json.dumps({**document, "metadata": {"name": cluster}}))
    refused = cli.run("up", "-f", str(description), check=False)
    assert "mounts are made when a machine starts" in " ".join(refused.stderr.split())


def test_a_worker_too_many_goes_with_a_yes(cli: Cli, cluster: str) -> None:
    """The one that came before: drained, out of the cluster, and its machine removed.

    Takes long for a playbook that takes Kubernetes off a node.
    """
    refused = cli.run("up", "--name", cluster, "--workers", "2", check=False)
    assert refused.returncode == 2
    assert f"ohmykube up --name {cluster} --workers 2 --yes" in " ".join(refused.stderr.split())
    assert [n["name"] for n in cli.json("status", cluster)["nodes"]] == ["cp1", "w1", "w2", "w3"]
    cli.run("up", "--name", cluster, "--workers", "2", "--yes")
    status = cli.json("status", cluster)
    assert status["health"] == "healthy"
    assert [n["name"] for n in status["nodes"]] == ["cp1", "w1", "w2"]
    nodes = cli.kubectl(cluster, "get", "nodes", "-oname").split()
    assert nodes == ["node/cp1", "node/w1", "node/w2"]
    left = [text for found in traces(cluster).values() for text in found]
    # As a word: the names of temporary directories may have the letters.
    assert not [text for text in left if re.search(r"\bw3\b", text)]
    assert cli.json("plan", "--name", cluster)["changes"] == []
