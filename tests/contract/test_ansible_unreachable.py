"""Hosts that cannot be reached: roles look at them, and the play goes on to say what it means."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GONE = {"ansible_host": "127.0.0.1", "ansible_port": 1}
"""Nobody listens there."""
HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
BARE = {
    "joined": False,
    "control_plane": False,
    "begun": "",
    "default_ip": "192.0.2.9",
    "swap": False,
}
JOIN = [
    {
        "name": "Join where all control planes are outside the play",
        "hosts": "w1",
        "gather_facts": False,
        "any_errors_fatal": True,
        "tasks": [
            {"ansible.builtin.set_fact": {"ohmykube_node": BARE, "cacheable": True}},
            {"ansible.builtin.set_fact": {"__node_prepared": True}},
            {
                "ansible.builtin.import_role": {
                    "name": "ohmykube.cluster.kubeadm",
                    "tasks_from": "join",
                }
            },
        ],
    }
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give an inventory of which only ``w1`` can be reached."""
    groups = {
        "kube_control_plane": {"hosts": {"cp1": GONE, "cp2": GONE}},
        "kube_node": {"hosts": {"w1": HERE, "w2": GONE}},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(groups))
    (tmp_path / "join.yml").write_text(yaml.safe_dump(JOIN))
    return tmp_path


def refused(directory: Path, book: str, *arguments: str) -> str:
    """Run a playbook that must fail; return what it said."""
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", book, *arguments]
    done = subprocess.run(
        argv,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_HOME": str(directory / "home"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_NOCOLOR": "true",
        },
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_no_cluster_is_made_beside_one_that_cannot_be_seen(directory: Path) -> None:
    said = refused(directory, "join.yml")
    assert "it cannot be told whether there is a cluster already" in said
    for plane in ("cp1", "cp2"):
        assert f"{plane}: Task failed: Failed to connect to the host via ssh" in said


def test_a_node_that_does_not_answer_is_not_forgotten_unasked(directory: Path) -> None:
    book = "ohmykube.cluster.node_remove"
    said = refused(directory, book, "-e", "node_remove_nodes=w2")
    assert "w2 does not answer" in said
    assert "set kubeadm_remove_gone" in said
    said = refused(directory, book, "-e", "node_remove_nodes=w2", "-e", "node_remove_gone=true")
    assert "no control plane was found that speaks for the cluster: cp1: " in said


def test_which_nodes_leave_must_be_said(directory: Path) -> None:
    assert "node_remove_nodes names the hosts" in refused(directory, "ohmykube.cluster.node_remove")
