"""A cluster on two virtual machines with kernels of their own, emulated, made by an ordinary user.

From a bundle and offline: what the machines are made from is on this host, and nothing else is
asked. All of it takes long; what it took is told for the log.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import yaml

from tests import lima_binary, lima_image
from tests.e2e import web_service
from tests.e2e.conftest import Cli, processes
from tests.e2e.ordinary import OrdinaryCli
from tests.free_port import free_port
from tests.image_server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.nightly
NAME = "far"
FIXED_PORT = free_port()
UP_SECONDS = 9000
NODE_SECONDS = 1200
TRIES, REST_SECONDS = 5, 20
TOO_SLOW = re.compile(r"request did not complete within|etcdserver: request timed out")
"""The server's own limit for a request, half a minute, cannot be raised by a client."""
PROCESSOR = "Westmere"
"""The first with instructions for AES, which QEMU hands to the real processor; what newer ones have
besides is slower to emulate than to do without."""
# A second service over the pods of the first, for those outside.
OUTSIDE = """
apiVersion: v1
kind: Service
metadata: {name: outside}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""
NODE_PORT = 30080
REPORT = """
uptime
free -m
journalctl --no-pager --output=cat --lines=30 --unit kubelet
for log in /var/log/ohmykube/*.log; do echo "--- $log"; tail -n 30 "$log"; done
ctr --namespace k8s.io containers ls | tail -n 30
"""


def say(text: str) -> None:
    """Tell what a nightly log should hold."""
    sys.stderr.write(f"{text}\n")


@contextmanager
def timed(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - begun:.0f} s")


def description(real: lima_binary.RealLimactl, entry: dict[str, object]) -> str:
    """Return the description of a cluster whose machines are made from an image."""
    template = real.scratch / "machine.yaml"
    content = {
        "images": [entry],
        "firmware": {"legacyBIOS": True},
        "vmOpts": {"qemu": {"cpuType": {"x86_64": PROCESSOR}}},
    }
    template.write_text(yaml.safe_dump(content))
    return yaml.safe_dump(
        {
            "apiVersion": "ohmykube.dev/v1",
            "kind": "Cluster",
            "metadata": {"name": NAME},
            "spec": {
                "provider": {
                    "name": "lima",
                    "options": {"template": str(template), "emulation": True},
                },
                "ports": [f"{FIXED_PORT}:{NODE_PORT}"],
                "nodes": {
                    "controlPlane": {"count": 1, "cpus": 2, "memory": "3GiB", "disk": "8GiB"},
                    "workers": {"count": 1, "cpus": 1, "memory": "2GiB", "disk": "8GiB"},
                },
            },
        }
    )


@pytest.fixture
def far(cli: Cli) -> Iterator[OrdinaryCli]:
    """Give the CLI of an ordinary user with a limactl, a description and a bundle for it."""
    for program in ("qemu-system-x86_64", "setpriv"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is not installed")
    with lima_binary.installed() as real:
        write_bundle(cli, real)
        made = OrdinaryCli(real.scratch / "o", real.scratch / "c", real)
        try:
            yield made
        finally:
            made.run("down", NAME, "--yes", check=False)


def write_bundle(cli: Cli, real: lima_binary.RealLimactl) -> None:
    """Write a bundle with all that the cluster needs, the machine image too.

    An ordinary user writes it, for limactl works for nobody else: on a host, so to say, that still
    reaches the server of the image, with what root has built in its cache.
    """
    image = lima_image.ensure()
    place = real.scratch
    file, built = place / "cluster.yaml", place / "built.omk.tar"
    file.write_text(description(real, image.entry()))
    cli.run("bundle", "create", "-f", str(file), "--to", str(built))
    first = OrdinaryCli(place / "o1", place / "c1", real)
    with serving() as server:
        file.write_text(description(real, image.served(server)))
        real.own(place)
        first.run("cache", "import", str(built), timeout=NODE_SECONDS)
        written = ("bundle", "create", "-f", str(file), "--to", str(place / "b.omk.tar"))
        with timed("bundle with the machine image written"):
            done = first.run(*written, timeout=NODE_SECONDS)
    assert "not in the bundle: the machine image" not in done.stderr
    built.unlink()
    for name in ("o1", "c1", ".cache"):
        shutil.rmtree(place / name)


def report(cli: OrdinaryCli) -> None:
    """Tell how the machines are, for a run that failed."""
    for node in ("cp1", "w1"):
        done = cli.run("shell", "--name", NAME, node, "--", "sudo", "sh", "-c", REPORT, check=False)
        say(f"=== {node}\n{done.stdout[-6000:]}\n{done.stderr[-500:]}")
    for log in sorted((cli.real.scratch / "h").glob("*/*.log")):
        say(f"=== {log}\n{log.read_text(errors='replace')[-3000:]}")
    for log in sorted((cli.real.scratch / "o").glob("**/runs/*/ansible.log")):
        found = re.findall(r"^(?:TASK|changed|fatal).*$", log.read_text(errors="replace"), re.M)
        say("\n".join([f"=== {log}", *found]))
    say("\n".join(processes(str(cli.real.scratch))))


def test_two_machines(far: OrdinaryCli) -> None:
    try:
        with timed("up"):
            done = far.run(*up(far), check=False, timeout=UP_SECONDS)
        say("\n".join(re.findall(r"^\[.*: (?:ok|failed) after.*$", done.stderr, re.M)))
        assert done.returncode == 0, done.stderr[-6000:]
        ready(far)
        known_to_ansible(far)
        pods_reach_each_other(far)
        balanced(far)
        again(far)
    except BaseException:
        report(far)
        raise
    with timed("down"):
        far.run("down", NAME, "--yes", timeout=NODE_SECONDS)
    assert [path.name for path in (far.real.scratch / "h").glob("[!_]*")] == []
    assert list((far.real.scratch / "h" / "_networks").glob("omk*")) == []
    assert far.json("list")["items"] == []
    assert processes(str(far.real.scratch)) == []


def up(far: OrdinaryCli) -> tuple[str, ...]:
    place = far.real.scratch
    return ("up", "-f", f"{place}/cluster.yaml", "--offline", "--bundle", f"{place}/b.omk.tar")


def ready(far: OrdinaryCli) -> None:
    nodes = {n["metadata"]["name"]: n for n in get(far, "nodes")}
    assert sorted(nodes) == ["cp1", "w1"]
    for node in nodes.values():
        conditions = {c["type"]: c["status"] for c in node["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        # Kernels of their own: what this host runs is not what the nodes run.
        assert "cloud-amd64" in node["status"]["nodeInfo"]["kernelVersion"]
    say(kubectl(far, "get", "nodes", "-owide"))
    say(kubectl(far, "get", "pods", "-A", "-owide"))
    status = far.json("status", NAME)
    assert status["health"] == "healthy"
    assert [(n["name"], n["role"], n["machine"]) for n in status["nodes"]] == [
        ("cp1", "control-plane", "running"),
        ("w1", "worker", "running"),
    ]


def known_to_ansible(far: OrdinaryCli) -> None:
    """The inventory plugin finds the machines, and Ansible reaches them, without the CLI."""
    file = far.real.scratch / f"{NAME}.lima.yml"
    file.write_text(json.dumps({"plugin": "ohmykube.cluster.lima", "cluster": NAME}))
    graph = far.ansible("ansible-inventory", "-i", str(file), "--graph")
    say(graph)
    assert "|  |--@kube_control_plane:\n  |  |  |--cp1" in graph
    assert "|  |--@kube_node:\n  |  |  |--w1" in graph
    asked = ("k8s_cluster", "-m", "ansible.builtin.command", "-a", "hostname", "--one-line")
    with timed("a command of Ansible on both"):
        said = far.ansible("ansible", "-i", str(file), *asked)
    for node in ("cp1", "w1"):
        assert re.search(rf"^{node} \| CHANGED .*\b{node}$", said, re.M), said


def kubectl(far: OrdinaryCli, *arguments: str, stdin: str = "") -> str:
    """Run kubectl, a few times while the API server itself says that it had no time for it."""
    for _ in range(TRIES - 1):
        try:
            return far.kubectl(NAME, *arguments, stdin=stdin)
        except pytest.fail.Exception as failed:
            if not TOO_SLOW.search(str(failed)):
                raise
            say(f"kubectl {arguments[0]}: {str(failed).strip().splitlines()[-1]}")
            time.sleep(REST_SECONDS)
    return far.kubectl(NAME, *arguments, stdin=stdin)


def get(far: OrdinaryCli, what: str, *arguments: str) -> list[dict[str, dict[str, object]]]:
    items: list[dict[str, dict[str, object]]]
    items = json.loads(kubectl(far, "get", what, *arguments, "-ojson"))["items"]
    return items


def pods_reach_each_other(far: OrdinaryCli) -> None:
    """A pod on each machine asks a service by its name, and pods of both machines answer."""
    proxy = get(far, "pods", "-nkube-system", "-lk8s-app=kube-proxy")[0]
    image = proxy["spec"]["containers"][0]["image"]  # type: ignore[index]
    with timed("pods on both machines"):
        kubectl(
            far,
            "apply",
            "-f",
            "-",
            stdin=web_service.MANIFEST.replace("IMAGE", image) + "---" + OUTSIDE,
        )
        rollout = ("rollout", "status", "daemonset/web", "--timeout=280s")
        kubectl(far, *rollout)
    pods = {p["metadata"]["name"]: p["spec"]["nodeName"] for p in get(far, "pods", "-lapp=web")}
    assert sorted(map(str, pods.values())) == ["cp1", "w1"]
    for pod, node in pods.items():
        with timed(f"DNS and the service, asked on {node}"):
            inside = ("exec", str(pod), "--", "/bin/sh", "-c", web_service.ASK)
            web_service.answers_from({"cp1", "w1"}, partial(kubectl, far, *inside), 240)


def balanced(far: OrdinaryCli) -> None:
    """What a cluster offers is reached from this host: at an address in the machines' network, at
    ports of nodes, and at an address of services that only nodes know.

    There is no controller for load balancers in this cluster: the test does its work, which is to
    put the address on a card of a node and to say so in the service's status.
    """
    (network,) = (far.real.scratch / "h" / "_omk" / "clusters").glob("*.json")
    address = f"192.168.{json.loads(network.read_text())['number']}.200"
    far.on(NAME, "w1", "sudo", "ip", "address", "replace", f"{address}/32", "dev", "eth0")
    status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    patch = ("patch", "service", "outside", "--subresource=status", "--type=merge")
    kubectl(far, *patch, f"-p={json.dumps(status)}")
    with timed("a second up"):
        done = far.run(*up(far), timeout=UP_SECONDS)
    assert "nothing changed" in done.stdout
    assert "outside.default port 80/tcp" in done.stdout
    far.run("expose", "web", "--name", NAME, timeout=NODE_SECONDS)
    places = reached(far)
    say(f"reached from this host: {places}")
    assert sorted(places) == sorted([*OFFERED, f"node:{NODE_PORT}", "web.default:80"])
    assert places[f"node:{NODE_PORT}"] == f"127.0.0.1:{FIXED_PORT}"
    for what, place in places.items():
        with timed(f"forty answers of {what}"):
            assert {answer(place) for _ in range(40)} == {"cp1", "w1"}, what


OFFERED = ["outside.default:80"]
"""What services offer by their type alone: the port of a load balancer, not that of its nodes."""


def reached(far: OrdinaryCli) -> dict[str, str]:
    """Return where each port of the cluster is on this host, by what it leads to."""
    items = far.json("expose", "list", NAME)["items"]
    return {f"{one['service']}:{one['port']}": one["place"] for one in items}


def answer(place: str) -> str:
    with urllib.request.urlopen(f"http://{place}/", timeout=60) as response:
        text: str = response.read().decode().strip()
    return text


def again(far: OrdinaryCli) -> None:
    """Stopped and started, it is the same cluster, and what this host reached it reaches again."""
    before = {n["name"]: n["address"] for n in far.json("status", NAME)["nodes"]}
    places = reached(far)
    with timed("stop"):
        far.run("stop", NAME, timeout=NODE_SECONDS)
    assert {n["machine"] for n in far.json("status", NAME)["nodes"]} == {"stopped"}
    with timed("start"):
        far.run("start", NAME, timeout=UP_SECONDS)
    assert reached(far) == places
    assert {n["name"]: n["address"] for n in far.json("status", NAME)["nodes"]} == before
    (remote,) = re.findall(r"192\.168\.\d+\.200", kubectl(far, "get", "service", "outside"))
    far.on(NAME, "w1", "sudo", "ip", "address", "replace", f"{remote}/32", "dev", "eth0")
    end = time.monotonic() + NODE_SECONDS
    while True:  # nodes are called Ready before their pods run again
        try:
            answered = {what: answer(place) for what, place in places.items()}
            say(f"answered after the start: {answered}")
            return
        except (OSError, urllib.error.URLError):
            if time.monotonic() > end:
                raise
            time.sleep(2)
