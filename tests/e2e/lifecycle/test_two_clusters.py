"""Two clusters at once, one's name a prefix of the other's: one from bare nodes, one from clones.

The same holds of both, whichever way their nodes were made.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import NOTHING, UP_SECONDS, traces, wait_gone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Cli

pytestmark = pytest.mark.nodes
BARE, CLONED = "two", "two-more"
MOST_ON_A_CLONE = 12
WAYS = {BARE: "never", CLONED: "build"}

# Names, modes and contents of all that makes a node, without what is its cluster's or its own.
CONTENT = r"""
cd /
look() {
  find etc usr/local opt root -xdev -path etc/kubernetes -prune -o -path etc/containerd/certs.d \
    -prune -o "$@" | grep -v -e etc/ssh/ssh_host_ -e etc/machine-id -e etc/ohmykube/machine.json \
    -e root/.ssh/authorized_keys -e etc/.pwd.lock | sort
}
look -printf '%M %U:%G %p %l\n'
look -type f -exec sha256sum {} +
find var/lib/containerd/io.containerd.content.v1.content/blobs -type f -exec sha256sum {} + | sort
ctr -n k8s.io images ls | awk 'NR > 1 { print $1, $3 }' | sort
systemctl list-unit-files --state=enabled --no-legend
cat proc/sys/net/ipv4/ip_forward
"""


def tree(root: Path) -> dict[str, str]:
    """Return the sum of every file of the templates; cloning renews the age of their records."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture(scope="module")
def stored(cli: Cli) -> Path:
    """Return where the templates are."""
    return cli.home / "data" / "nspawn-templates"


@pytest.fixture(scope="module")
def clusters(cli: Cli) -> Iterator[tuple[str, str]]:
    """Make both at once, each its own way."""
    for name in WAYS:
        assert traces(name) == NOTHING
    runs = [
        cli.start("up", "--name", n, "--workers", "0", "--provider", "nspawn", "--template", way)
        for n, way in WAYS.items()
    ]
    assert [run.wait(UP_SECONDS) for run in runs] == [0, 0]
    yield BARE, CLONED
    for name in WAYS:
        cli.run("down", name, "--yes")


def test_two_at_once_do_not_meet(cli: Cli, clusters: tuple[str, str]) -> None:
    servers = set()
    for name in clusters:
        assert cli.json("status", name)["health"] == "healthy"
        servers.add(cli.kubectl(name, "config", "view", "-ojsonpath={.clusters[0].cluster.server}"))
    assert len(servers) == 2


def test_a_cloned_node_is_what_a_bare_one_becomes(cli: Cli, clusters: tuple[str, str]) -> None:
    bare, cloned = (cli.on(name, "cp1", "sh", "-c", CONTENT).splitlines() for name in clusters)
    assert len(bare) > 40
    assert sorted(set(bare) ^ set(cloned)) == []


def test_a_clone_needs_at_most_twelve_tasks(cli: Cli, clusters: tuple[str, str]) -> None:
    """Each task costs time on each node; what a template brings needs no look of its own."""
    done = {}
    for name in clusters:
        first, *_ = sorted((cli.home / "state/clusters" / name / "runs").iterdir())
        log = (first / "ansible.log").read_text()
        done[name] = int(re.findall(r"recap +ok=(\d+)", log)[0])
    assert 0 < done[CLONED] <= MOST_ON_A_CLONE


def test_nobody_has_the_identity_of_a_template(
    cli: Cli, clusters: tuple[str, str], stored: Path
) -> None:
    ids = {cli.on(name, "cp1", "cat", "/etc/machine-id") for name in clusters}
    assert len(ids) == 2
    records = cli.home / "state" / "clusters"
    secrets = [(records / name / "cache-token").read_bytes() for name in clusters]
    names = [str(path.relative_to(stored)) for path in stored.rglob("*") if path.is_file()]
    assert [n for n in names if "ssh_host" in n or "machine-id" in n or "hosts.toml" in n] == []
    for path in stored.rglob("lower/**/*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20:
            assert not [s for s in secrets if s in path.read_bytes()], path


def test_clones_leave_their_template_alone_and_do_not_need_it(
    cli: Cli, clusters: tuple[str, str], stored: Path
) -> None:
    """Its bytes are the same after a clone wrote; when it is gone the clone can be repaired."""
    assert clusters
    before = tree(stored)
    assert before
    cli.on(CLONED, "cp1", "sh", "-c", "echo x >>/usr/local/bin/kubeadm && rm -r /opt/cni/bin")
    assert tree(stored) == before
    (key,) = {t["key"] for t in cli.json("template", "list")["items"] if t["role"] != "worker"}
    assert cli.json("template", "rm", key, "--yes")["items"]
    assert not (stored / key).exists()
    assert cli.json("up", "--name", CLONED)["changed"] is True
    assert cli.json("status", CLONED)["health"] == "healthy"
    assert cli.on(CLONED, "cp1", "ls", "/opt/cni/bin").split()


def test_down_takes_exactly_one(cli: Cli, clusters: tuple[str, str]) -> None:
    assert clusters
    cli.run("down", BARE, "--yes")
    assert wait_gone(BARE) == NOTHING
    assert cli.json("status", CLONED)["health"] == "healthy"
    assert cli.json("down", BARE, "--yes")["existed"] is False
    cli.run("down", CLONED, "--yes")
    assert wait_gone(CLONED) == NOTHING
