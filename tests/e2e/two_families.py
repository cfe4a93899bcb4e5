"""Pods, services and names of a cluster with two IP families, and packets of full size."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.e2e import reached, web_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Cli

NETWORK = {
    "podCIDR": ["fd00:10:244::/56", "10.244.0.0/16"],
    "serviceCIDR": "fd00:10:96::/112,10.96.0.0/16",
}
"""The primary family is the rarer one."""
SERVICES = """
---
apiVersion: v1
kind: Service
metadata: {name: both}
spec: {ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: noded}
spec:
  type: NodePort
  ipFamilies: [IPv6]
  selector: {app: web}
  ports: [{port: 8080, nodePort: 30180}]
"""
ASK = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {address} 8080 | tail -n 1"
HEADERS = {4: 28, 6: 48}
"""Bytes of IP and ICMP before what ping sends."""


def family(address: str) -> int:
    return 6 if ":" in address else 4


def check(
    cli: Cli, cluster: str, nodes: set[str], eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """Reach pods of every node and services in each family, from a pod of every node."""
    found = json.loads(cli.kubectl(cluster, "get", "nodes", "-ojson"))["items"]
    for node in found:
        own = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
        assert [family(one) for one in own] == [6, 4]
        assert [family(one) for one in node["spec"]["podCIDRs"]] == [6, 4]
    where = "-ojsonpath={.spec.template.spec.containers[0].image}"
    image = cli.kubectl(cluster, "-nkube-system", "get", "daemonset", "kube-proxy", where)
    manifest = web_service.MANIFEST.replace("IMAGE", image) + SERVICES
    cli.kubectl(cluster, "apply", "-f", "-", stdin=manifest)
    cli.kubectl(cluster, "rollout", "status", "daemonset/web", "--timeout=120s")
    pods = json.loads(cli.kubectl(cluster, "get", "pods", "-lapp=web", "-ojson"))["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == nodes
    services = json.loads(cli.kubectl(cluster, "get", "services", "both", "noded", "-ojson"))
    addresses = [ip for one in services["items"] for ip in one["spec"]["clusterIPs"]]
    assert sorted(map(family, addresses)) == [4, 6, 6]

    def says(asking: str, address: str) -> str:
        command = ("exec", asking, "--", "/bin/sh", "-c", ASK.format(address=address))
        return cli.kubectl(cluster, *command).strip()

    def answered(asking: str, address: str) -> bool:
        return says(asking, address) in nodes

    for asking in (pod["metadata"]["name"] for pod in pods):
        for pod in pods:
            for address in (one["ip"] for one in pod["status"]["podIPs"]):
                assert says(asking, address) == pod["spec"]["nodeName"], (asking, address)
        for address in addresses:
            assert eventually(partial(answered, asking, address)), (asking, address)
    assert eventually(lambda: reached.page("127.0.0.1:30180") in nodes)
    _check_sizes(cli, cluster, pods)
    cli.kubectl(cluster, "delete", "--wait=false", "daemonset/web", "service/web", "service/both")
    cli.kubectl(cluster, "delete", "--wait=false", "service/noded")


def _check_sizes(cli: Cli, cluster: str, pods: list[Any]) -> None:
    """Send the largest packets that pods send, with the order not to cut them, to other nodes."""
    name = pods[0]["metadata"]["name"]
    mtu = int(cli.kubectl(cluster, "exec", name, "--", "cat", "/sys/class/net/eth0/mtu"))
    here = pods[0]["spec"]["nodeName"]
    for pod in pods[1:]:
        for one in pod["status"]["podIPs"]:
            size = mtu - HEADERS[family(one["ip"])]
            for more, said in ((0, "through"), (1, "too large")):
                ping = f"ping -c1 -W5 -Mdo -s{size + more} {one['ip']} >/dev/null 2>&1"
                command = f"{ping} && echo through || echo too large"
                assert cli.on(cluster, here, "sh", "-c", command).strip() == said, (pod, more)
