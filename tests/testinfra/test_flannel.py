"""What the role flannel gives: Ready nodes and a route to the pods of the other node."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

ADMIN = "kubectl --kubeconfig /etc/kubernetes/admin.conf"


def test_subnet_is_written(host: Any) -> None:
    written = host.file("/run/flannel/subnet.env").content_string
    assert "FLANNEL_NETWORK=10.244.0.0/16" in written


def test_overlay_has_a_route_to_the_other_node(host: Any) -> None:
    assert host.interface("flannel.1").exists
    assert "10.244." in host.check_output("ip route show dev flannel.1")


def test_nodes_become_ready_and_dns_is_available(host: Any) -> None:
    if host.check_output("hostname") != "cp1":
        return
    host.check_output(f"{ADMIN} wait --for=condition=Ready node --all --timeout=90s")
    host.check_output(f"{ADMIN} -nkube-system rollout status deploy/coredns --timeout=120s")
    nodes = json.loads(host.check_output(f"{ADMIN} get nodes -ojson"))["items"]
    networks = [ipaddress.ip_network(node["spec"]["podCIDR"]) for node in nodes]
    # A node that came back has another one than before.
    assert all(one.subnet_of(ipaddress.ip_network("10.244.0.0/16")) for one in networks)
    assert len(set(networks)) == len(nodes)


def test_the_configuration_names_plugins_that_are_there(host: Any) -> None:
    """The configuration makes the node Ready, and a sandbox that fails is tried again late."""
    written = json.loads(host.file("/etc/cni/net.d/10-flannel.conflist").content_string)
    for plugin in [*(one["type"] for one in written["plugins"]), "bridge"]:
        assert host.file(f"/opt/cni/bin/{plugin}").mode & 0o111


def test_rules_are_looked_at_as_seldom_as_kube_proxys(host: Any) -> None:
    """By itself flannel starts iptables twenty times in five seconds, on each node."""
    flannel = host.process.get(comm="flanneld")
    assert "--iptables-resync=30" in flannel.args.split()
