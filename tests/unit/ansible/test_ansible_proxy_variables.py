"""The proxy becomes what containerd and apt are told; nothing of the cluster goes through it."""

from __future__ import annotations

from typing import Any

import pytest

from ohmykube.ansible.proxy_variables import proxy_vars
from ohmykube.kit.secret import Secret
from ohmykube.model.cluster import Network
from ohmykube.model.proxy import Proxy, ProxyUrls

NETWORK = Network(pod_cidr="10.1.0.0/16", service_cidr="10.2.0.0/16", dns_domain="k8s.example")
PLANES = {"cp2": "10.3.0.2", "cp1": "10.3.0.1"}


def told(network: Network = NETWORK, **urls: Any) -> dict[str, Any]:
    return proxy_vars(Proxy(nodes=ProxyUrls(**urls)), network, PLANES)


def test_without_a_proxy_the_roles_keep_their_defaults() -> None:
    assert proxy_vars(None, NETWORK, PLANES) == {}
    assert proxy_vars(Proxy(of_host=True), NETWORK, PLANES) == {}


def test_pods_are_told_in_both_spellings_and_no_more_when_it_is_gone() -> None:
    found = told(https=Secret("http://me:pw@p:1"))
    environment = found["containerd_environment"]
    lower = {name.lower(): value for name, value in environment.items()}
    assert found["cluster_proxy_environment"] == {**environment, **lower}
    gone = proxy_vars(None, NETWORK, PLANES, had=True)
    assert gone == {"cluster_proxy_environment": {}}


def test_nothing_of_the_cluster_goes_through_it() -> None:
    exceptions = ("lab.example", "10.1.0.0/16")
    found = told(http=Secret("http://p:1"), no_proxy=exceptions)["containerd_environment"]
    words = found["NO_PROXY"].split(",")
    assert words[:2] == list(exceptions)
    assert len(words) == len(set(words))
    assert set(words) >= {
        *("localhost", "127.0.0.0/8", "host.ohmykube.internal"),
        *("10.1.0.0/16", "10.2.0.0/16", ".svc", ".k8s.example"),
        *("cp1", "cp2", "10.3.0.1", "10.3.0.2"),
    }
    endpoint = Network(api_server_endpoint="lb.example:6443")
    found = told(endpoint, http=Secret("http://p:1"))["containerd_environment"]
    assert "lb.example" in found["NO_PROXY"].split(",")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_login_is_a_secret_and_the_rest_is_not(scheme: str) -> None:
    url = "http://me%40x:p%40%2520@proxy.example:3128"
    found = told(**{scheme: Secret(url)}, no_proxy=("a.example", ".b.example", "10.0.0.0/8"))
    name = f"{scheme.upper()}_PROXY"
    assert set(found["containerd_environment"]) == {name, "NO_PROXY"}
    assert found["containerd_environment"][name] == Secret(url)
    assert found["node_apt_proxies"] == [
        {
            "scheme": scheme,
            "url": "http://proxy.example:3128",
            "direct": ["a.example"],
            "username": "me@x",
            "password": Secret("p@%20"),
        }
    ]
    found = told(**{scheme: Secret("http://proxy.example:3128")})
    assert found["containerd_environment"][name] == "http://proxy.example:3128"
    assert found["node_apt_proxies"] == [
        {"scheme": scheme, "url": "http://proxy.example:3128", "direct": []}
    ]
