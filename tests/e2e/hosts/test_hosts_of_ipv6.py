"""The provider ssh over hosts that are named by IPv6 addresses, one of them behind the other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.e2e.bare import Bare
from tests.e2e.conftest import NOTHING, wait_gone
from tests.e2e.hosts.test_ssh_provider import PORT, InsideCli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.nightly, pytest.mark.nodes]
NAME = "sshsix"
SECOND_PORT = f"""
printf 'Port 22\\nPort {PORT}\\n' >/etc/ssh/sshd_config.d/20-ports.conf
systemctl restart ssh
"""
FAMILIES = {
    "six": ("fd00:10:244::/56", "fd00:10:96::/112"),
    "six-and-four": ("fd00:10:244::/56,10.244.0.0/16", "fd00:10:96::/112,10.96.0.0/16"),
}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Bare]:
    """Return two machines without Kubernetes, ``a`` and ``b``, in a network of IPv6 too."""
    made = Bare("sshsix-bare", tmp_path_factory.mktemp("hosts"), shared_cache)
    try:
        made.make("a", "b")
        made.second_network(6)
        made.run("b", SECOND_PORT)
        yield made
    finally:
        made.remove()
    assert wait_gone(made.name) == NOTHING


@pytest.mark.parametrize("families", FAMILIES)
def test_a_cluster_over_ipv6(
    hosts: Bare, shared_cache: Path, tmp_path: Path, families: str
) -> None:
    """Host keys, a jump host, copies, the kubeconfig and certificates: all by addresses of IPv6.

    A cluster of its own, as its machines must not be ours.
    """
    user = InsideCli(tmp_path / "omk", shared_cache, tuple(hosts.inside))
    pods, services = FAMILIES[families]
    six = {node: hosts.second_address(node) for node in ("a", "b")}
    four = {node: f"10.99.0.{six[node].rpartition(':')[2]}" for node in six}
    described = {
        node: {
            "address": six[node],
            "hostKey": hosts.host_key(node),
            "nodeIP": six[node] if families == "six" else f"{six[node]},{four[node]}",
        }
        for node in ("a", "b")
    }
    described["b"] |= {"port": PORT, "jump": f"root@[{six['a']}]:22"}
    document = {
        "apiVersion": "ohmykube.dev/v1",
        "kind": "Cluster",
        "metadata": {"name": NAME},
        "spec": {
            "provider": {"name": "ssh", "ssh": {"identityFile": str(hosts.key)}},
            "network": {"podCIDR": pods, "serviceCIDR": services},
            "nodes": {
                "controlPlane": {"hosts": [described["a"]]},
                "workers": {"hosts": [described["b"]]},
            },
        },
    }
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(document))
    try:
        user.run("up", "-f", str(file))
        assert json.loads(user.run("up", "-f", str(file), "-o", "json").stdout)["changed"] is False
        assert user.json("status", NAME)["health"] == "healthy"
        config = yaml.safe_load(user.run("kubeconfig", NAME).stdout)
        assert config["clusters"][0]["cluster"]["server"] == f"https://[{six['a']}]:6443"
        (tmp_path / "a file").write_text("text")
        user.run("cp", "--name", NAME, str(tmp_path / "a file"), "w1:/root/copy")
        assert hosts.run("b", "cat /root/copy; rm /root/copy") == "text"
        lines = (user.home / "data" / "ssh" / NAME / "known_hosts").read_text()
        assert f"{six['a']} {hosts.host_key('a')}" in lines
        assert f"[{six['b']}]:{PORT} {hosts.host_key('b')}" in lines
    finally:
        user.run("down", NAME, "--yes", check=False)
    assert [hosts.left(node) for node in ("a", "b")] == [[], []]
