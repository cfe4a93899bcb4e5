"""The inventory plugin for Lima, over the limactl without machines, run by Ansible itself."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ohmykube.cluster.plugins.plugin_utils import lima_instances

from ohmykube.model.machine import MachineSpec
from ohmykube.providers.lima import lima_home, marker
from tests import inventory_place
from tests.lima_world import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.kit import process

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = "ohmykube.cluster.lima"


@dataclass(frozen=True)
class Place:
    """Two clusters of Lima, and a directory with an inventory file for them."""

    world: World
    directory: Path

    @property
    def file(self) -> Path:
        return self.directory / "dev.lima.yml"

    def write(self, **more: object) -> None:
        wanted = {"plugin": PLUGIN, "lima_home": str(self.world.home.root),
                  "limactl": str(self.world.program), **more}  # fmt: skip
        self.file.write_text(json.dumps(wanted))

    def ansible(self, *arguments: object, check: bool = True) -> process.Result:
        return inventory_place.ansible(self.directory, *arguments, check=check)

    def listed(self) -> dict[str, Any]:
        return inventory_place.listed(self.file)

    def refused(self) -> str:
        return inventory_place.refused(self.file)


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    """Give a cluster of two, one of them stopped, another of one, and a foreign machine."""
    with world() as place:
        for cluster, node in (("dev", "cp1"), ("dev", "w1"), ("other", "cp1")):
            provider = place.provider(place.cluster(cluster))
            provider.create(MachineSpec(cluster=cluster, node=node, cpus=2, memory_mib=512))
        place.provider().stop("dev", "w1")
        place.limactl.create("theirs", f"images: [{{location: {place.image}}}]\n")
        yield place


@pytest.fixture
def place(made: World, tmp_path: Path) -> Place:
    found = Place(made, tmp_path)
    found.write(cluster="dev")
    return found


def test_the_mark_is_the_one_that_the_provider_writes(made: World) -> None:
    read = lima_instances.marks(str(made.home.root))
    ours = marker.owned(made.home)
    assert set(read) == set(ours) == {"dev.cp1", "dev.w1", "other.cp1"}
    assert (lima_instances.SCHEMA, lima_instances.MARK) == (marker.SCHEMA, marker.FILE)
    for name, mark in read.items():
        theirs = dataclasses.asdict(ours[name])
        assert mark == {key: theirs[key] for key in mark}


@pytest.mark.parametrize(
    "environ",
    [
        {"HOME": "/users/me"},
        {"HOME": "/users/me", "OHMYKUBE_HOME": "/srv/omk"},
        {"HOME": "/users/me", "OHMYKUBE_HOME": "/srv/omk", "OHMYKUBE_LIMA_HOME": "/l"},
    ],
)
def test_machines_are_sought_where_the_cli_has_them(environ: dict[str, str]) -> None:
    assert lima_instances.home(environ) == str(lima_home.locate(environ).root)


def test_groups_hosts_and_variables(place: Place) -> None:
    found = place.listed()
    assert found["kube_control_plane"]["hosts"] == ["cp1"]
    assert sorted(found["k8s_cluster"]["children"]) == ["kube_control_plane", "kube_node"]
    assert "kube_node" not in found, "its machine is stopped"
    known = found["_meta"]["hostvars"]["cp1"]
    (instance,) = place.world.limactl.list("dev.cp1")
    (machine,) = [m for m in place.world.provider().list("dev") if m.node == "cp1"]
    assert known["ansible_host"] == "127.0.0.1"
    assert known["ansible_port"] == instance.ssh_port
    assert known["ansible_user"] == "omk"
    assert known["ansible_become"] is True
    assert known["ansible_ssh_private_key_file"] == str(place.world.home.identity)
    assert "UserKnownHostsFile=/dev/null" in known["ansible_ssh_common_args"]
    assert known["kubeadm_node_ip"] == machine.address
    assert (known["lima_cpus"], known["lima_memory"]) == (2, 512 << 20)
    assert (known["lima_instance"], known["ohmykube_role"]) == ("dev.cp1", "control-plane")


def test_the_graph(place: Place) -> None:
    place.write(cluster="dev", stopped=True)
    told = place.ansible("inventory", "-i", place.file.name, "--graph").stdout
    assert "|  |--@kube_control_plane:\n  |  |  |--cp1" in told
    assert "|  |--@kube_node:\n  |  |  |--w1" in told


def test_all_clusters_and_constructed_groups(place: Place) -> None:
    place.write(
        stopped=True,
        keyed_groups=[{"prefix": "cluster", "key": "ohmykube_cluster"}],
        groups={"small": "lima_memory < 1024 ** 3"},
        compose={"where": "ohmykube_cluster ~ '/' ~ kubeadm_node_name"},
        strict=True,
    )
    found = place.listed()
    assert set(found["_meta"]["hostvars"]) == {"dev.cp1", "dev.w1", "other.cp1"}
    assert found["cluster_dev"]["hosts"] == ["dev.cp1", "dev.w1"]
    assert found["cluster_other"]["hosts"] == ["other.cp1"]
    assert len(found["small"]["hosts"]) == 3
    assert found["_meta"]["hostvars"]["other.cp1"]["where"] == "other/cp1"
    place.write(cluster="dev", strict=True, groups={"wrong": "nothing.like.that"})
    assert "Could not add host" in place.refused()


def test_a_cache_spares_the_question(place: Place) -> None:
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile",
             "cache_connection": str(place.directory / "cache")}  # fmt: skip
    place.write(cluster="dev", **cache)
    first = place.listed()
    shutil.copy2(place.world.program, place.directory / "limactl")
    place.write(cluster="dev", limactl="/nowhere/limactl", **cache)
    assert place.listed()["_meta"]["hostvars"] == first["_meta"]["hostvars"]
    place.write(cluster="dev", limactl="/nowhere/limactl")
    assert "/nowhere/limactl is not installed" in place.refused()


def test_what_is_wrong_is_said(place: Place) -> None:
    place.write(cluster="nobody")
    assert 'there is no machine of cluster "nobody"' in place.refused()
    place.write(cluster="../dev")
    assert "is not the name of a cluster" in place.refused()
    programs = {
        "echo nonsense": "answered something unknown",
        "echo oh no >&2; exit 1": "could not list its machines: oh no",
    }
    for code, words in programs.items():
        broken = place.directory / "broken"
        broken.write_text(f"#!/bin/sh\n{code}\n")
        broken.chmod(0o755)
        place.write(cluster="dev", limactl=str(broken))
        assert words in place.refused()
    other = place.file.rename(place.directory / "dev.yml")
    done = place.ansible("inventory", "-i", other, "--list", check=False)
    assert "could not be verified by inventory plugin" in " ".join(done.stderr.split())


def test_an_empty_home_is_an_empty_inventory(place: Place) -> None:
    place.write(lima_home=str(place.directory / "none"), limactl="/nowhere/limactl")
    assert place.listed()["_meta"]["hostvars"] == {}


SHOW = """
- hosts: k8s_cluster
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "{{ [ansible_user, lima_arch, mine] }}"
    - ansible.builtin.debug:
        var: hostvars[inventory_hostname]
"""


def test_text_from_a_machine_is_never_evaluated(place: Place) -> None:
    trap = place.directory / "trap"
    evil = f"{{{{ lookup('ansible.builtin.pipe', 'touch {trap}') }}}}"
    lima = place.directory / "lima"
    (lima / "dev.cp1").mkdir(parents=True)
    (lima / "dev.cp1" / "lima.yaml").touch()
    mark = {"schema": 1, "instance": "dev.cp1", "cluster": "dev", "node": "cp1", "complete": True,
            "role": evil, "network": evil, "address": evil}  # fmt: skip
    (lima / "dev.cp1" / marker.FILE).write_text(json.dumps(mark))
    told = {"name": "dev.cp1", "status": "Running", "arch": evil, "limaVersion": evil,
            "sshLocalPort": 1, "config": {"user": {"name": evil}}}  # fmt: skip
    (place.directory / "told").write_text(json.dumps(told) + "\n")
    program = place.directory / "limactl"
    program.write_text(f"#!/bin/sh\ncat {place.directory / 'told'}\n")
    program.chmod(0o755)
    place.write(
        cluster="dev",
        lima_home=str(lima),
        limactl=str(program),
        compose={"mine": "lima_arch"},
        keyed_groups=[{"prefix": "it", "key": "lima_arch"}],
        groups={"it": "lima_network | length > 0"},
    )
    known = place.listed()["_meta"]["hostvars"]["cp1"]
    for name in ("ansible_user", "lima_arch", "lima_network", "kubeadm_node_ip", "mine"):
        assert known[name] == evil
    (place.directory / "show.yml").write_text(SHOW)
    done = place.ansible("playbook", "-i", place.file.name, "-c", "local", "show.yml")
    assert "lookup('ansible.builtin.pipe', 'touch" in done.stdout
    assert not trap.exists()


@pytest.mark.parametrize(
    "change",
    [{"schema": 2}, {"instance": "dev.w1"}, {"complete": False}, {"cluster": "../x"}, {"node": ""}],
)
def test_a_mark_that_is_not_ours_is_no_host(tmp_path: Path, change: dict[str, object]) -> None:
    directory = tmp_path / "dev.cp1"
    directory.mkdir()
    (directory / "lima.yaml").touch()
    mark = {"schema": 1, "instance": "dev.cp1", "cluster": "dev", "node": "cp1", "complete": True}
    (directory / marker.FILE).write_text(json.dumps(mark))
    assert set(lima_instances.marks(str(tmp_path))) == {"dev.cp1"}
    (directory / marker.FILE).write_text(json.dumps({**mark, **change}))
    assert lima_instances.marks(str(tmp_path)) == {}
    (directory / marker.FILE).write_text("[")
    assert lima_instances.marks(str(tmp_path)) == {}


def test_the_documentation_and_its_examples(place: Place) -> None:
    told = place.ansible("doc", "-t", "inventory", PLUGIN, "--json").stdout
    about = json.loads(told)[PLUGIN]
    assert {"plugin", "cluster", "lima_home", "limactl", "stopped", "cache", "compose", "groups",
            "keyed_groups", "strict"} <= set(about["doc"]["options"])  # fmt: skip
    here = f"lima_home: {place.world.home.root}\nlimactl: {place.world.program}\n"
    first, second = about["examples"].split("---\n")
    place.file.write_text(first + here)
    assert place.listed()["kube_control_plane"]["hosts"] == ["cp1"]
    place.file.write_text(second + here)
    assert place.listed()["cluster_dev"]["hosts"] == ["dev.cp1", "dev.w1"]
