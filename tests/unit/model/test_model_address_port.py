"""Wherever an address is joined to a port, one of IPv6 is in brackets; taken off, it is bare."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

import pytest
from ansible_collections.ohmykube.cluster.plugins.filter import problems

from ohmykube.ansible.proxy_variables import proxy_vars
from ohmykube.config import load, values
from ohmykube.errors import ConfigError, LockedError
from ohmykube.kit.secret import Secret
from ohmykube.kube import kubeconfig
from ohmykube.model.cluster import Network
from ohmykube.model.exposure import ExposedPort, PublishedPort
from ohmykube.model.machine import SshTarget
from ohmykube.model.networks import host_of, host_port
from ohmykube.model.proxy import Proxy, ProxyUrls
from ohmykube.providers import ssh_config
from ohmykube.providers.nspawn import port_forward
from ohmykube.providers.ssh import host_keys
from ohmykube.steps.proxy_urls import with_proxy

ADDRESSES = (
    "192.0.2.7",
    "node-7.lab.example",
    "fd00::7",
    "2001:db8:1:2:3:4:5:6",
    "fd00:10:244::a:b",
    "::9:7",
    "2001:db8::192:0:2:7",
)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHnFBzl8A9T0f3qY1JgkT7y5m7lq3mXUEr2i0y5hGx1A"
CONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: kubernetes, cluster: {server: "https://x:6443"}}]
contexts: [{name: admin, context: {cluster: kubernetes, user: admin}}]
current-context: admin
users: [{name: admin, user: {}}]
"""
each_address = pytest.mark.parametrize("address", ADDRESSES)


def in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@each_address
def test_what_was_joined_is_taken_apart_again(address: str) -> None:
    place = host_port(address, 6443)
    assert host_of(place) == address
    assert urllib.parse.urlsplit(f"https://{place}").hostname == address
    assert urllib.parse.urlsplit(f"https://{place}").port == 6443
    assert values.endpoint(place) == place
    assert problems.endpoint_complaint(place) == ""


@each_address
def test_a_kubeconfig_leads_there(address: str) -> None:
    assert f"https://{in_url(address)}:6443" in kubeconfig.rename(CONFIG, "dev", address, 6443)


@each_address
def test_no_request_to_the_endpoint_goes_through_a_proxy(address: str) -> None:
    network = Network(api_server_endpoint=host_port(address, 6443))
    told = proxy_vars(Proxy(nodes=ProxyUrls(http=Secret("http://p:1"))), network, {})
    environment = told["containerd_environment"]
    assert isinstance(environment, dict)
    assert address in environment["NO_PROXY"].split(",")


@each_address
@pytest.mark.parametrize("user", ["", "me@"])
@pytest.mark.parametrize("port", ["", ":22", ":2222"])
def test_a_jump_host_may_have_any_address(
    tmp_path: Path, address: str, user: str, port: str
) -> None:
    """What the cluster file takes, ssh's configuration takes, and it proves the host's key."""
    jump = values.jump(f"{user}{in_url(address)}{port}")
    target = SshTarget(
        address="10.0.0.1", user="root", port=22, jump=jump, known_hosts=Path("/k/known_hosts")
    )
    text = ssh_config.render({"w1": target}, tmp_path)
    assert f"ProxyJump {jump}\n" in text
    assert f"Host {address}\n  UserKnownHostsFile" in text


@pytest.mark.parametrize(
    "text", ["fd00::7", "me@fd00::7", "[fd00::7", "fd00::7]", "[fd00::7]:", "[node]:22", "[::7]:0"]
)
def test_a_jump_host_of_ipv6_needs_its_brackets(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        values.jump(text)


@each_address
def test_a_host_is_reached_and_known_by_its_address(tmp_path: Path, address: str) -> None:
    target = SshTarget(address=values.address(address), user="root", port=2222)
    assert f"HostName {address}\n" in ssh_config.render({"w1": target}, tmp_path)
    assert host_keys.known_hosts_line(KEY, address, 22) == f"{address} {KEY}\n"
    assert host_keys.known_hosts_line(KEY, address, 2222) == f"[{address}]:2222 {KEY}\n"


@each_address
def test_a_port_that_is_held_by_others_is_told_with_its_target(address: str) -> None:
    forward = PublishedPort(
        target=ExposedPort(address, 6443),
        name="api",
        place="",
        refused_port=25443,
        reason="is taken",
    )
    with pytest.raises(LockedError) as caught:
        port_forward.must_be_held("dev", [forward])
    assert f"leads to {in_url(address)}:6443 of" in caught.value.message


@pytest.mark.parametrize("zone", ["fe80::1%eth0", "fd00::1%eth0"])
@pytest.mark.parametrize("field", [values.node_addresses, values.alternative_name])
def test_a_zone_means_nothing_to_other_hosts(zone: str, field: object) -> None:
    assert callable(field)
    with pytest.raises(ValueError, match="without the zone"):
        field(zone)


def test_a_proxy_on_the_loopback_is_told_with_brackets() -> None:
    document = {"metadata": {"name": "dev"}, "spec": {"proxy": {"http": "http://[::1]:3128"}}}
    cluster = load.from_document(document)
    with pytest.raises(ConfigError, match=r"proxy at \[::1\]:3128,"):
        with_proxy(cluster, {})
