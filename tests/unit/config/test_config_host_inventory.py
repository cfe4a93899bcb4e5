"""Hosts of an Ansible inventory: what Ansible itself would use to reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.config import host_inventory
from ohmykube.errors import ConfigError
from ohmykube.model.cluster import Role
from tests import inventory_place

if TYPE_CHECKING:
    from pathlib import Path

HOSTS = """\
[kube_control_plane]
cp1 ansible_host=192.0.2.11
cp2 ansible_host=192.0.2.12 ansible_user="root" ansible_become=no
[kube_node]
node[1:3] ansible_port=22
rack[a:b]-[01:02].example.com
w9.lab.example.com
[old]
o1 ansible_ssh_host=192.0.2.31 ansible_ssh_user=legacy ansible_ssh_port=2022
[kube_node:children]
old
[all:vars]
outside=the file
[kube_node:vars]
ansible_user=node
"""
BESIDE = {
    "group_vars/all.yml": "ansible_user: deploy\nansible_port: 2222\nansible_become: true\n",
    "group_vars/old/main.yml": "ansible_ssh_private_key_file: /keys/old\n",
    "host_vars/node2.yml": "ansible_host: 192.0.2.22\nansible_become: false\n",
    "host_vars/w9.lab.example.com.yaml": "ip: 10.0.0.9\n",
}
AS_YAML = """\
all:
  children:
    kube_control_plane: {hosts: {cp1: {ansible_host: 192.0.2.11}}}
    kube_node: {hosts: {"node[1:2]": {ansible_user: node}}}
"""


def place(directory: Path, text: str, name: str = "hosts.ini") -> Path:
    path = directory / name
    path.write_text(text)
    for beside, content in BESIDE.items():
        file = directory / beside
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return path


def login(found: dict[str, Any], name: str) -> tuple[Any, ...]:
    """Return how Ansible reaches a host, from its variables."""
    return (
        found.get("ansible_host", found.get("ansible_ssh_host", name)),
        found.get("ansible_port", found.get("ansible_ssh_port")),
        found.get("ansible_user", found.get("ansible_ssh_user")),
        found.get("ansible_ssh_private_key_file"),
        found.get("ansible_become") in (True, "yes"),
        found.get("ip"),
    )


@pytest.mark.parametrize(("text", "name"), [(HOSTS, "hosts.ini"), (AS_YAML, "hosts.yaml")])
def test_hosts_logins_and_ports_are_those_that_ansible_shows(
    tmp_path: Path, text: str, name: str
) -> None:
    path = place(tmp_path, text, name)
    variables = inventory_place.listed(path)["_meta"]["hostvars"]
    inventory = host_inventory.read(path, name)
    assert inventory.problems == []
    taken = [host for hosts in inventory.hosts.values() for host in hosts]
    found = {
        (
            host["address"], host.get("port"), host.get("user"), host.get("identityFile"),
            host.get("become", False), host.get("nodeIP"),
        )
        for host in taken
    }  # fmt: skip
    assert found == {login(of_host, name) for name, of_host in variables.items()}
    assert len(taken) == len(variables) == (11 if name == "hosts.ini" else 3)


def test_a_node_is_called_as_its_host_and_an_address_is_no_name(tmp_path: Path) -> None:
    text = HOSTS.replace("[old]", "192.0.2.40\nRACK9.Lab.Example\n[old]")
    hosts = host_inventory.read(place(tmp_path, text), "hosts.ini").hosts[Role.WORKER]
    named = {host["address"]: host.get("name") for host in hosts}
    assert named.pop("192.0.2.40") is None
    assert named.pop("RACK9.Lab.Example") == "rack9.lab.example"
    assert named.pop("192.0.2.22") == "node2"
    assert named.pop("192.0.2.31") == "o1"
    assert all(name == address for address, name in named.items())
    assert "w9.lab.example.com" in named


def reached_with(directory: Path, *arguments: str) -> host_inventory.Inventory:
    """Return an inventory with a host for each text of arguments for ssh."""
    path = directory / "hosts.yml"
    hosts = [
        f'    cp{number}:\n      ansible_ssh_common_args: "{text}"\n'
        for number, text in enumerate(arguments)
    ]
    path.write_text("".join(["kube_control_plane:\n  hosts:\n", *hosts]))
    return host_inventory.read(path, "hosts.yml")


def test_a_jump_host_is_taken(tmp_path: Path) -> None:
    jumps = {
        "-J ops@bastion": "ops@bastion",
        "-o ProxyJump=bastion:2222": "bastion:2222",
        "-oProxyJump=bastion": "bastion",
        "-Jbastion": "bastion",
    }
    inventory = reached_with(tmp_path, *jumps)
    hosts = inventory.hosts[Role.CONTROL_PLANE]
    assert [host.get("jump") for host in hosts] == list(jumps.values())
    assert "ansible_ssh_common_args" not in "".join(inventory.warnings)


@pytest.mark.parametrize("arguments", ["-o ProxyCommand=id", "-J bastion -C", "-o 'unclosed"])
def test_other_arguments_are_named(tmp_path: Path, arguments: str) -> None:
    inventory = reached_with(tmp_path, arguments)
    (host,) = inventory.hosts[Role.CONTROL_PLANE]
    assert "jump" not in host
    assert "ansible_ssh_common_args" in "".join(inventory.warnings)


def test_nothing_of_an_inventory_is_run_or_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No script, no template, no configuration that lies beside it or that a variable names."""
    touched = tmp_path / "touched"
    (tmp_path / "ansible.cfg").write_text("[inventory]\nenable_plugins = script\n")
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "script")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    script = tmp_path / "hosts.sh"
    script.write_text(f"#!/bin/sh\ntouch {touched}\necho '{{}}'\n")
    script.chmod(0o755)
    with pytest.raises(ConfigError, match="not an Ansible inventory"):
        host_inventory.read(script, "hosts.sh")
    template = "{{ lookup('pipe', 'touch " + str(touched) + "') }}"
    path = tmp_path / "hosts.yml"
    path.write_text(f'kube_control_plane:\n  hosts:\n    cp1: {{ansible_host: "{template}"}}\n')
    (host,) = host_inventory.read(path, "hosts.yml").hosts[Role.CONTROL_PLANE]
    assert host["address"] == template
    assert not touched.exists()


def test_variables_that_are_not_used_are_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    many = " ".join(f"v{number:02}=1" for number in range(20))
    path.write_text(f"[kube_control_plane]\ncp1 {many}\n")
    (warning,) = host_inventory.read(path, "hosts.ini").warnings
    assert warning.endswith("v06, v07 and 12 more")
