"""The collection as a guest in an estate of somebody else, with habits and machines of its own.

Hosts whose names are no names of nodes, groups called otherwise, a user with sudo on another port,
secrets in a vault, local roles called as ours are, a docker with its containerd, an etcd, one host
after the other, and an inventory in any order.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e import test_packaging as packaging
from tests.e2e.hosts.test_ssh_provider import PORT, USERS
from tests.e2e.playbooks import Nodes, Play, attempt, bare_nodes, play

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.nodes, pytest.mark.nightly]

source = packaging.source
ESTATE = packaging.ROOT / "tests" / "data" / "estate"
SECRET = "s3cr3t-of-the-estate-4711"
MASTERS = {"Master_01": "cp1", "Master_02": "cp2"}
MINIONS = {"minion-A.example.com": "w1", "minion.B_2": "w2"}
NODES = {
    "Master_01": "master-01.example.com",
    "Master_02": "master-02.example.com",
    "minion-A.example.com": "minion-a",
    "minion.B_2": "minion-b-2",
}
CONFIG = 'version = 2\n# of docker\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
# What a distribution's containerd and docker are made of, as far as it concerns us.
THEIRS = f"""
set -e
mkdir -p /root/theirs /etc/containerd
python3 - <<'END'
import io, tarfile, urllib.request
request = urllib.request.Request("URL", headers={{"Authorization": "Bearer TOKEN"}})
archive = tarfile.open(fileobj=io.BytesIO(urllib.request.urlopen(request).read()))
archive.extractall("/root/theirs")
END
for name in containerd containerd-shim-runc-v2 ctr runc; do
  install -m 755 $(find /root/theirs -type f -name $name) /usr/bin/$name
done
rm -r /root/theirs
printf '%s' '{CONFIG}' >/etc/containerd/config.toml
chmod 640 /etc/containerd/config.toml
cat >/lib/systemd/system/containerd.service <<'END'
[Service]
ExecStart=/usr/bin/containerd
Type=notify
Delegate=yes
KillMode=process
[Install]
WantedBy=multi-user.target
END
systemctl enable --now containerd
mkdir -p /srv/app/usr /srv/app/proc /srv/app/sys /srv/app/dev
for name in bin sbin lib lib64; do ln -s usr/$name /srv/app/$name; done
usr=type=bind,src=/usr,dst=/usr,options=rbind:ro
ctr -n moby run -d --rootfs --mount $usr /srv/app app /usr/bin/sleep 100000
"""
APP = "ctr -n moby tasks ls"
STATE = "stat -c '%a %U' /etc/containerd/config.toml; cat /etc/containerd/config.toml"
NEWER = "find /etc /usr/local /var/lib/ohmykube -newer /srv/app 2>&1 || true"


def sh(nodes: Nodes, node: str, script: str) -> str:
    """Return what a shell script says on a node."""
    return nodes(node, ["sh", "-s"], script)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Nodes]:
    """Return two masters and two minions, one with a docker and one with an etcd.

    Nodes of their own, as they must be four that nobody else has touched.
    """
    place = tmp_path_factory.mktemp("nodes")
    with bare_nodes("estate", place, shared_cache, control_planes=2, workers=2) as made:
        users = USERS.replace("admin", "ops")
        for node in (*MASTERS.values(), *MINIONS.values()):
            sh(made, node, users)
        made(
            "w2", ["sh", "-s"], "mkdir -p /var/lib/etcd/member; echo data >/var/lib/etcd/member/db"
        )
        (package,) = made.artifacts("kube_node", "w1")["containerd_artifacts"]
        url = package["url"] + ("&" if "?" in package["url"] else "?") + "enc=identity"
        token = made.shared["cache_token"]
        sh(made, "w1", THEIRS.replace("URL", url).replace("TOKEN", token))
        yield made


@dataclass(frozen=True)
class Estate:
    """A directory with the estate's playbooks, and how they are run."""

    nodes: Nodes
    directory: Path
    collections: str

    def inventory(self, masters: dict[str, str], minions: dict[str, str]) -> str:
        """Write an inventory of these hosts, in this order; return its path."""

        def host(name: str, node: str, group: str) -> dict[str, Any]:
            return {
                "ansible_host": node,
                "ansible_ssh_common_args": f"-F {self.nodes.ssh_config} "
                f"-o HostKeyAlias={self.address(node)}",
                "kubeadm_node_name": NODES[name],
                **self.nodes.artifacts(group, node),
            }

        shared = self.nodes.shared
        names = ("cache_endpoint", "containerd_sandbox_image", "flannel_image")
        more = ("flannel_cni_plugin_image", "kubeadm_etcd_image_tag", "kubeadm_dns_image_tag")
        variables = {name: shared[name] for name in (*names, *more) if name in shared}
        variables |= {
            "ansible_user": "ops",
            "ansible_port": PORT,
            "ansible_become": True,
            "ansible_python_interpreter": "/usr/bin/python3",
            "kubeadm_control_plane_group": "masters",
            "kubeadm_worker_group": "minions",
            "kubeadm_network_role": "ohmykube.cluster.flannel",
            "containerd_environment": {"ESTATE": '{{ estate_secret }} \\ " $HOME ` % é'},
        }
        hosts = {
            "masters": {n: host(n, node, "kube_control_plane") for n, node in masters.items()},
            "minions": {n: host(n, node, "kube_node") for n, node in minions.items()},
        }
        document: dict[str, Any] = {name: {"hosts": found} for name, found in hosts.items()}
        document["all"] = {"vars": variables}
        path = self.directory / "inventory.yml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return str(path)

    def address(self, node: str) -> str:
        """Return the address under which ssh knows a node's key."""
        argv = ["ssh", "-G", "-F", self.nodes.ssh_config, node]
        shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        found = re.search(r"^hostkeyalias (\S+)", shown, re.MULTILINE)
        found = found or re.search(r"^hostname (\S+)", shown, re.MULTILINE)
        assert found is not None
        return found[1]

    def options(self) -> dict[str, Any]:
        """Return where and with which environment its playbooks run."""
        return {
            "directory": self.directory,
            "ANSIBLE_COLLECTIONS_PATH": self.collections,
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self.directory / "password"),
        }

    def play(self, book: str, inventory: str, *arguments: str) -> Play:
        """Run a playbook, which must succeed; no secret is in all that it says."""
        done = play(book, "-i", inventory, "-vvv", "--diff", *arguments, **self.options())
        assert SECRET not in done.output
        return done

    def refused(self, book: str, inventory: str, *arguments: str) -> str:
        """Run a playbook that must fail; return what it says."""
        done = attempt(book, "-i", inventory, *arguments, **self.options())
        assert done.returncode != 0, done.stdout[-3000:]
        return " ".join((done.stdout + done.stderr).split())


@pytest.fixture(scope="module")
def estate(nodes: Nodes, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Estate:
    """Return a copy of the estate with a vault."""
    directory = tmp_path_factory.mktemp("estate") / "estate"
    shutil.copytree(ESTATE, directory)
    made = Estate(nodes, directory, str(source / "collections"))
    (directory / "password").write_text("open sesame\n")
    vault = directory / "group_vars" / "all" / "vault.yml"
    vault.parent.mkdir()
    secrets = {"cache_token": nodes.shared["cache_token"], "estate_secret": SECRET}
    vault.write_text(yaml.safe_dump(secrets))
    subprocess.run(
        [
            "ansible-vault",
            "encrypt",
            "--vault-password-file",
            str(directory / "password"),
            str(vault),
        ],
        env=packaging.environment(),
        cwd=directory,
        capture_output=True,
        check=True,
    )
    return made


FIRST = ({"Master_01": "cp1"}, {"minion-A.example.com": "w1"})


def test_a_docker_is_named_before_anything_is_touched(nodes: Nodes, estate: Estate) -> None:
    before = sh(nodes, "w1", STATE + "\n" + NEWER)
    assert CONFIG in before
    said = estate.refused("cluster.yml", estate.inventory(*FIRST), "--limit", "minions")
    for part in ("/etc/containerd/config.toml", "/usr/bin/containerd", "containerd_takeover"):
        assert part in said
    assert "1 running in moby" in said
    assert "RUNNING" in sh(nodes, "w1", APP)
    assert sh(nodes, "w1", STATE + "\n" + NEWER) == before


@pytest.fixture(scope="module")
def cluster(nodes: Nodes, estate: Estate) -> Play:
    """Make the cluster of one master and one minion, host by host."""
    inventory = estate.inventory(*FIRST)
    host_vars = estate.directory / "host_vars"
    host_vars.mkdir()
    (host_vars / "minion-A.example.com.yml").write_text("containerd_takeover: true\n")
    return estate.play("cluster.yml", inventory)


def names(nodes: Nodes) -> list[str]:
    """Return the names of the nodes that are Ready, after waiting for all."""
    nodes.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=180s")
    return sorted(item["metadata"]["name"] for item in nodes.get("nodes")["items"])


def test_one_host_after_the_other_makes_a_cluster(nodes: Nodes, cluster: Play) -> None:
    assert names(nodes) == ["master-01.example.com", "minion-a"]
    assert "RUNNING" in sh(nodes, "w1", APP), "what docker runs goes on"
    environment = "tr '\\0' '\\n' </proc/$(pidof containerd)/environ"
    expected = f'ESTATE={SECRET} \\ " $HOME ` % é'
    assert expected in sh(nodes, "cp1", environment).splitlines()


def test_a_second_run_changes_nothing(estate: Estate, cluster: Play) -> None:
    done = estate.play("cluster.yml", estate.inventory(*FIRST))
    assert set(done.changed.values()) == {0}, done.output[-4000:]


def test_one_host_is_added_with_limit(nodes: Nodes, estate: Estate, cluster: Play) -> None:
    inventory = estate.inventory(FIRST[0], MINIONS)
    done = estate.play("cluster.yml", inventory, "--limit", "minion.B_2")
    assert set(done.ran) == {"minion.B_2"}
    assert "minion-b-2" in names(nodes)


def test_a_new_master_that_stands_first_joins(nodes: Nodes, estate: Estate, cluster: Play) -> None:
    """The order of an inventory makes no second cluster."""
    turned = dict(reversed(MASTERS.items()))
    inventory = estate.inventory(turned, MINIONS)
    done = estate.play("cluster.yml", inventory, "--limit", "Master_02")
    assert set(done.ran) == {"Master_02"}
    assert names(nodes) == sorted(NODES.values())
    pods = nodes.get("pods", "-nkube-system", "-lcomponent=etcd")["items"]
    assert len(pods) == 2, "one etcd with two members"


def test_no_secret_is_in_a_journal_or_readable_by_others(
    nodes: Nodes, estate: Estate, cluster: Play
) -> None:
    token = nodes.shared["cache_token"]
    for node in ("cp1", "w1"):
        journal = nodes(node, ["journalctl", "--no-pager", "--output=cat"])
        assert "ohmykube" in journal, "the look at the journal sees nothing at all"
        assert SECRET not in journal
        assert token not in journal
        places = "/etc /run /var/lib/ohmykube /var/log /tmp /var/tmp"
        look = f"grep -rlsF -e {SECRET} -e {token} {places} | xargs -r stat -c '%a %n'"
        found = [line.split(" ", 1) for line in sh(nodes, node, look).splitlines()]
        assert any(path == "/etc/estate/token" for _mode, path in found), "it sees nothing at all"
        assert not [path for mode, path in found if not mode.endswith("00")]


def test_a_reset_must_be_confirmed(nodes: Nodes, estate: Estate, cluster: Play) -> None:
    said = estate.refused("give_up.yml", estate.inventory(MASTERS, MINIONS))
    assert "cluster_reset_confirmed=true" in said
    assert names(nodes) == sorted(NODES.values())


def test_no_second_cluster_when_the_masters_are_others(
    nodes: Nodes, estate: Estate, cluster: Play
) -> None:
    """As when the lost master was taken out of the inventory, and a new one takes its name."""
    confirmed = ("-e", "cluster_reset_confirmed=true", "--limit", "Master_02")
    leaving = json.dumps({"node_remove_nodes": "Master_02"})
    estate.play("ohmykube.cluster.node_remove", estate.inventory(MASTERS, MINIONS), "-e", leaving)
    estate.play("give_up.yml", estate.inventory(MASTERS, MINIONS), *confirmed)
    assert nodes.left("cp2") == []
    alone = estate.inventory({"Master_02": "cp2"}, MINIONS)
    said = estate.refused("cluster.yml", alone, "--limit", "Master_02")
    assert "a second one is not made" in said
    assert "minion-A.example.com and minion.B_2 belongs to one" in said
    assert sh(nodes, "cp2", "ls /etc/kubernetes || true") == ""


def test_in_the_end_everything_is_as_it_was(nodes: Nodes, estate: Estate, cluster: Play) -> None:
    inventory = estate.inventory(MASTERS, MINIONS)
    estate.play("give_up.yml", inventory, "-e", "cluster_reset_confirmed=true")
    assert nodes.left("cp1") == nodes.left("cp2") == []
    assert nodes.left("w2") == ["/var/lib/etcd/member"]
    assert nodes("w2", ["cat", "/var/lib/etcd/member/db"]) == "data\n"
    assert sh(nodes, "w1", STATE) == "640 root\n" + CONFIG
    assert nodes("w1", ["systemctl", "is-active", "containerd"]).strip() == "active"
    assert nodes("w1", ["systemctl", "is-enabled", "containerd"]).strip() == "enabled"
    shown = nodes(
        "w1", ["systemctl", "show", "--property=FragmentPath,ExecMainStatus", "containerd"]
    )
    assert "/lib/systemd/system/containerd.service" in shown
    assert "RUNNING" in sh(nodes, "w1", APP)
    again = estate.play("give_up.yml", inventory, "-e", "cluster_reset_confirmed=true")
    assert set(again.changed.values()) == {0}, again.output[-4000:]
