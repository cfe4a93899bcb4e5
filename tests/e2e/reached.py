"""Services of a cluster, reached from the host that it runs on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e import web_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Cli

    Eventually = Callable[[Callable[[], bool]], bool]

NODES = {"cp1", "w1", "w2"}
# The same pods in each way, and the cluster's DNS, which answers over UDP.
SERVICES = """
---
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 8181, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: noded}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 1, targetPort: 8080, nodePort: 30180}]}
---
apiVersion: v1
kind: Service
metadata: {name: names, namespace: kube-system}
spec:
  type: LoadBalancer
  selector: {k8s-app: kube-dns}
  ports: [{port: 8153, targetPort: 53, protocol: UDP}]
"""
HOST_PORT = "        ports: [{containerPort: 8080, hostPort: 8180}]\n"
SERVED = ("web", "balanced", "noded")
OURS = {"balanced.default", "noded.default", "web.default", "names.kube-system"}
ADDRESS = "192.0.2.10"
"""That a load balancer gives, and no network has: nodes lead it to the pods."""
QUESTION = b"om\1\0\0\1\0\0\0\0\0\0\12kubernetes\7default\3svc\7cluster\5local\0\0\1\0\1"


def manifest(image: str) -> str:
    """Return the pods with a port of their nodes, and the services."""
    pods = web_service.MANIFEST.replace("IMAGE", image)
    return pods.replace("        env:", f"{HOST_PORT}        env:") + SERVICES


def places(cli: Cli, cluster: str) -> dict[str, str]:
    """Return where the services are that the test made, by their names."""
    items = cli.json("expose", "list", cluster)["items"]
    return {one["service"]: one["place"] for one in items if one["service"] in OURS}


def reported(cli: Cli, cluster: str) -> dict[str, str]:
    """Return the same from the process that holds them: no command for what is asked many times."""
    ports = _report(cli, cluster)["exposed"]["ports"]
    return {one["name"]: one["place"] for one in ports if one["name"] in OURS}


def _report(cli: Cli, cluster: str) -> Any:
    path = cli.home / "data" / "nspawn" / cluster / "ports-report.json"
    return json.loads(path.read_text())


def page(place: str) -> str:
    """Return the node of the pod that answers there; empty when none does."""
    host, _, port = place.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 5) as one:
        one.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: one.recv(4096), b""))
        return answer.decode().split()[-1] if answer else ""
    return ""


def resolved(place: str) -> str:
    """Return the address of the API's service as the DNS there tells it; empty for no answer."""
    host, _, port = place.rpartition(":")
    with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as one:
        one.settimeout(2)
        one.connect((host, int(port)))
        one.send(QUESTION)
        return socket.inet_ntoa(one.recv(4096)[-4:])
    return ""


def all_answer(found: dict[str, str]) -> bool:
    """Tell whether every one of the services answers at its place."""
    pages = {name: page(place) for name, place in found.items() if name != "names.kube-system"}
    return (
        found.keys() == OURS
        and set(pages.values()) <= NODES
        and bool(resolved(found["names.kube-system"]))
    )


def published(cli: Cli, cluster: str, eventually: Eventually) -> dict[str, str]:
    """Make services of each type; return where they are once all of them answer."""
    where = "-ojsonpath={.spec.template.spec.containers[0].image}"
    image = cli.kubectl(cluster, "-nkube-system", "get", "daemonset", "kube-proxy", where)
    cli.kubectl(cluster, "apply", "-f", "-", stdin=manifest(image))
    cli.kubectl(cluster, "rollout", "status", "daemonset/web", "--timeout=120s")
    assert eventually(lambda: all_answer(reported(cli, cluster)))
    return places(cli, cluster)


def removed(cli: Cli, cluster: str, eventually: Eventually) -> None:
    """Remove them, and see that nothing is left of them on this host."""
    before = places(cli, cluster)
    cli.kubectl(cluster, "-nkube-system", "delete", "service/names")
    cli.kubectl(cluster, "delete", "daemonset/web", *(f"service/{s}" for s in SERVED))
    assert eventually(lambda: reported(cli, cluster) == {})
    assert places(cli, cluster) == {}
    assert {page(place) for place in before.values()} == {""}


def check(cli: Cli, cluster: str, eventually: Eventually) -> None:
    """Reach services of each type from this host; leave them there."""
    before = published(cli, cluster, eventually)
    status = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}})
    given = ("patch", "service", "balanced", "--subresource=status", "--type=merge", "-p", status)
    cli.kubectl(cluster, *given)
    moved = (ADDRESS, before["balanced.default"])
    assert eventually(lambda: moved in _targets(cli, cluster))
    assert eventually(lambda: page(before["balanced.default"]) in NODES)
    assert places(cli, cluster) == before
    _asked_for(cli, cluster, eventually)
    _killed(cli, cluster, before, eventually)
    cli.kubectl(cluster, "delete", "service", "noded")
    assert eventually(lambda: "noded.default" not in reported(cli, cluster))
    assert page(before["noded.default"]) == ""
    assert published(cli, cluster, eventually) == before


def _targets(cli: Cli, cluster: str) -> set[tuple[str, str]]:
    """Return addresses of the cluster, with the places that lead there."""
    ports = _report(cli, cluster)["exposed"]["ports"]
    return {(one["target"]["address"], one["place"]) for one in ports}


def _asked_for(cli: Cli, cluster: str, eventually: Eventually) -> None:
    """A service that has no port of the nodes is reached once somebody asks for it."""
    (item,) = cli.json("expose", "web", "--name", cluster)["items"]
    assert item["service"] == "web.default"
    assert eventually(lambda: page(item["place"]) in NODES)
    assert cli.json("expose", "web", "--name", cluster, "--remove")["items"] == []
    assert page(item["place"]) == ""


def _killed(cli: Cli, cluster: str, before: dict[str, str], eventually: Eventually) -> None:
    """Helpers that were killed are back at the same places.

    By themselves; with the next command where what starts them again was killed as well.
    """
    helpers = _helpers(cluster)
    assert int(_status(helpers["ports"][-1], "VmRSS").split()[0]) <= 30 << 10
    for pids in helpers.values():
        os.kill(pids[-1], signal.SIGKILL)
    assert eventually(
        lambda: all(
            len(now) > 1 and helpers[name][-1] not in now for name, now in _helpers(cluster).items()
        )
    )
    assert eventually(lambda: all_answer(before))
    assert cli.kubectl(cluster, "get", "nodes")
    for pids in _helpers(cluster).values():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: page(before["noded.default"]) == "")
    assert cli.json("status", cluster)["health"] == "healthy"
    assert cli.kubectl(cluster, "get", "nodes")
    assert places(cli, cluster) == before
    assert eventually(lambda: all_answer(before))


def _helpers(cluster: str) -> dict[str, list[int]]:
    """Return the processes of a cluster's helpers, what keeps each of them first."""
    found: dict[str, set[int]] = {}
    for path in Path("/sys/fs/cgroup").glob(f"**/omk/{cluster}/_*/cgroup.procs"):
        pids = found.setdefault(path.parent.name.removeprefix("_"), set())
        pids.update(map(int, path.read_text().split()))
    keepers = ("sh", "sleep", "ip")
    return {
        name: sorted(pids, key=lambda pid: (_status(pid, "Name") not in keepers, pid))
        for name, pids in found.items()
    }


def _status(pid: int, field: str) -> str:
    """Return a line of a process's status; empty where it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/status").read_text().split(f"{field}:")[1].splitlines()[0].strip()
    return ""
