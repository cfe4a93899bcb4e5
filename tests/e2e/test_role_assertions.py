"""What a role refuses before it touches a host, for each combination of its variables; no nodes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e import playbooks

if TYPE_CHECKING:
    from pathlib import Path

OTHER = "10.42.0.0/16"
# Role, variables, and what is said of them; nothing where they are right.
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "follows-default": ("flannel", {}, ""),
    "follows-kubeadm": ("flannel", {"kubeadm_pod_cidr": OTHER}, ""),
    "own-network": ("flannel", {"flannel_network": OTHER}, ""),
    "both-the-same": ("flannel", {"kubeadm_pod_cidr": OTHER, "flannel_network": OTHER}, ""),
    "two-networks": (
        "flannel",
        {"kubeadm_pod_cidr": OTHER, "flannel_network": "10.244.0.0/16"},
        "flannel_network: 10.244.0.0/16 is not the pod network of kubeadm, 10.42.0.0/16",
    ),
    "known": ("kubeadm", {}, ""),
    "unknown-kubernetes": (
        "kubeadm",
        {"kubeadm_kubernetes_version": "1.99.0"},
        "kubeadm_kubernetes_version: the checksums of 1.99.0 are not known. Next: take one of",
    ),
    "own-kubernetes": (
        "kubeadm",
        {"kubeadm_kubernetes_version": "1.99.0", "kubeadm_artifacts": "OWN"},
        "",
    ),
    "unknown-runc": (
        "containerd",
        {"containerd_runc_version": "9.9.9"},
        "containerd_runc_version: the checksums of 9.9.9 are not known",
    ),
    "unknown-but-removed": (
        "containerd",
        {"containerd_runc_version": "9.9.9", "containerd_state": "absent"},
        "",
    ),
}
OWN = [
    {
        "name": "kubeadm",
        "url": "https://example.com/kubeadm",
        "checksum": "sha256:" + "0" * 64,
        "dest": "/usr/local/bin/kubeadm",
    }
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what the assertions of each case say, by its name; one run of Ansible for all."""
    place: Path = tmp_path_factory.mktemp("assertions")
    hosts: dict[str, Any] = {}
    for name, (role, variables, _) in CASES.items():
        given = {key: OWN if value == "OWN" else value for key, value in variables.items()}
        hosts[name] = {"ansible_connection": "local", "tested_role": role, **given}
    inventory = {"kube_control_plane": {"hosts": hosts}}
    (place / "hosts.yml").write_text(yaml.safe_dump(inventory))
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Assert",
                "ansible.builtin.include_role": {
                    "name": "ohmykube.cluster.{{ tested_role }}",
                    "tasks_from": "assert",
                    "rolespec_validate": False,
                },
            }
        ],
    }
    (place / "play.yml").write_text(yaml.safe_dump([play]))
    output, _errors = playbooks.without_nodes(place)
    found = dict.fromkeys(CASES, "")
    for line in output.splitlines():
        if line.startswith("fatal: ["):
            name = line.partition("[")[2].partition("]")[0]
            found[name] = json.loads(line.partition("=> ")[2])["msg"]
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_contradiction_is_named_before_anything_is_touched(
    said: dict[str, str], case: str
) -> None:
    _, _, expected = CASES[case]
    if expected:
        assert expected in said[case]
    else:
        assert said[case] == ""
