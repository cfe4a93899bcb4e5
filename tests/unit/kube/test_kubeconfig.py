"""kubeadm's admin.conf becomes ours."""

from __future__ import annotations

import pytest
import yaml

from ohmykube.errors import ClusterError
from ohmykube.kube import kubeconfig

ADMIN = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [
        {
            "name": "kubernetes",
            "cluster": {"server": "https://10.0.0.1:6443", "certificate-authority-data": "Q0E="},
        }
    ],
    "users": [{"name": "kubernetes-admin", "user": {"client-key-data": "S0VZ"}}],
    "contexts": [],
}


def test_names_carry_the_cluster_and_the_server_is_ours() -> None:
    text = kubeconfig.rename(yaml.safe_dump(ADMIN), "dev", "127.0.0.1", 36443)
    document = yaml.safe_load(text)
    assert document["clusters"] == [
        {
            "name": "ohmykube-dev",
            "cluster": {"server": "https://127.0.0.1:36443", "certificate-authority-data": "Q0E="},
        }
    ]
    assert document["users"] == [{"name": "ohmykube-dev", "user": {"client-key-data": "S0VZ"}}]
    assert document["current-context"] == "ohmykube-dev"
    assert document["contexts"][0]["context"] == {"cluster": "ohmykube-dev", "user": "ohmykube-dev"}


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("192.0.2.7", "https://192.0.2.7:6443"),
        ("2001:db8::7", "https://[2001:db8::7]:6443"),
        ("cp1.example", "https://cp1.example:6443"),
    ],
)
def test_an_address_of_ipv6_is_in_brackets(host: str, server: str) -> None:
    document = yaml.safe_load(kubeconfig.rename(yaml.safe_dump(ADMIN), "dev", host, 6443))
    assert document["clusters"][0]["cluster"]["server"] == server


@pytest.mark.parametrize("text", ["", "[]", "clusters: []", "a: {b", "clusters: [{cluster: 3}]"])
def test_what_is_no_kubeconfig_is_refused(text: str) -> None:
    with pytest.raises(ClusterError, match="not a kubeconfig"):
        kubeconfig.rename(text, "dev", "127.0.0.1", 1)
