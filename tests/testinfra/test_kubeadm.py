"""What the role kubeadm leaves on a node: a kubelet that has joined."""

from __future__ import annotations

import json
from typing import Any

import pytest

ADMIN = "kubectl --kubeconfig /etc/kubernetes/admin.conf"


def _control_plane(host: Any) -> bool:
    return bool(host.check_output("hostname") == "cp1")


def test_kubelet_runs_and_is_enabled(host: Any) -> None:
    service = host.service("kubelet")
    assert service.is_running
    assert service.is_enabled


@pytest.mark.parametrize("name", ["kubeadm", "kubelet", "kubectl"])
def test_binaries_have_the_version(host: Any, name: str) -> None:
    flag = {"kubeadm": "version -o short", "kubectl": "version --client", "kubelet": "--version"}
    assert "v1.36.3" in host.check_output(f"{name} {flag[name]}")


def test_secrets_are_private(host: Any) -> None:
    path = "/etc/kubernetes/admin.conf" if _control_plane(host) else "/etc/kubernetes/kubelet.conf"
    assert host.file(path).mode == 0o600


def test_both_nodes_are_members(host: Any) -> None:
    if not _control_plane(host):
        assert not host.file("/etc/kubernetes/admin.conf").exists
        return
    nodes = json.loads(host.check_output(f"{ADMIN} get nodes -ojson"))["items"]
    assert [n["metadata"]["name"] for n in nodes] == ["cp1", "w1"]


def test_ranges_are_those_that_were_asked_for(host: Any) -> None:
    if not _control_plane(host):
        return
    config = host.check_output(f"{ADMIN} -nkube-system get cm kubeadm-config -ojsonpath={{.data}}")
    assert "10.244.0.0/16" in config
    assert "10.96.0.0/16" in config


def test_no_token_of_a_join_is_left_for_long(host: Any) -> None:
    """Tokens live for minutes, and none of kubeadm's well-known examples is used."""
    if not _control_plane(host):
        return
    tokens = host.check_output("kubeadm --kubeconfig /etc/kubernetes/admin.conf token list")
    assert "abcdef." not in tokens
    assert "<forever>" not in tokens
