"""Two clusters at once, one's name a prefix of the other's, one of them killed and resumed.

One is made from bare nodes and from a bundle alone, where no packet can leave unseen, and killed
at a random moment; the other from a clone of a template that it builds first. The same holds of
both, whichever way their nodes were made.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.steps.templates import build_name
from tests.e2e import island, killing, outside
from tests.e2e.conftest import NOTHING, UP_SECONDS, Cli, traces, wait_gone
from tests.e2e.killing import SEED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from subprocess import Popen

    from tests.e2e.island import Island

pytestmark = pytest.mark.nodes
BARE, CLONED = "two", "two-more"
WAYS = (BARE, CLONED)
MOST_ON_A_CLONE = 12
(KILLED_AFTER,) = killing.moments(SEED, 1, 30)
DESCRIPTION = f"""\
apiVersion: ohmykube.dev/v1
kind: Cluster
metadata: {{name: {BARE}}}
spec:
  provider: {{name: nspawn}}
  template: never
  nodes:
    workers: {{count: 0}}
"""

# Names, modes and contents of all that makes a node, without what is its cluster's or its own, such
# as the addresses of each one's network of machines.
CONTENT = r"""
cd /
look() {
  find etc usr/local opt root -xdev -path etc/kubernetes -prune -o -path etc/containerd/certs.d \
    -prune -o "$@" | grep -v -e etc/ssh/ssh_host_ -e etc/machine-id -e etc/ohmykube/machine.json \
    -e root/.ssh/authorized_keys -e etc/.pwd.lock -e etc/hosts$ -e etc/resolv.conf$ | sort
}
look -printf '%M %U:%G %p %l\n'
look -type f -exec b2sum {} +
find var/lib/containerd/io.containerd.content.v1.content/blobs -type f -exec b2sum {} + | sort
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


@dataclass(frozen=True)
class Pair:
    """Both clusters."""

    cli: dict[str, Cli]
    """Who reaches which: the first one's API listens on the island alone."""
    island: Island
    alive: list[str]
    """What of the killed run was alive a moment later."""
    status: dict[str, Any]
    """What each one's status was in the end."""


@pytest.fixture(scope="module")
def stored(cli: Cli) -> Path:
    """Return where the templates are."""
    return cli.home / "data" / "nspawn-templates"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the description of the first cluster and a bundle for it."""
    made = tmp_path_factory.mktemp("place")
    (made / "cluster.yaml").write_text(DESCRIPTION)
    return made


@pytest.fixture(scope="module")
def bundle(cli: Cli, place: Path) -> str:
    """Write the bundle and return its path."""
    path = str(place / "two.omk.tar")
    written = cli.json("bundle", "create", "-f", str(place / "cluster.yaml"), "--to", path)
    assert written["files"] == [path]
    return path


@pytest.fixture(scope="module")
def surroundings() -> Iterator[Island]:
    with island.surrounded() as made:
        yield made


@pytest.fixture(scope="module")
def pair(cli: Cli, surroundings: Island, place: Path, bundle: str) -> Iterator[Pair]:
    """Make both at once; one is killed at a random moment and resumed.

    Clusters of their own: only from its first moment on can one be cut off, killed or compared.
    Not the one that builds its template: a killed build loses all that it did. The nightly run
    kills five, and unit tests kill freezing and cloning at many of their steps.
    """
    there = island.Islander(cli.home, place / "cache")
    ups = {
        BARE: (there, ("-f", str(place / "cluster.yaml"), "--offline", "--bundle", bundle)),
        CLONED: (
            cli,
            ("--name", CLONED, "--workers", "0", "--provider", "nspawn", "--template", "build"),
        ),
    }
    for name in ups:
        assert traces(name) == NOTHING

    with contextlib.ExitStack() as stack:
        for name in WAYS:
            stack.callback(cli.run, "down", name, "--yes", check=False)

        def start(name: str, log: str) -> Popen[bytes]:
            who, arguments = ups[name]
            run = who.start("up", *arguments, log=place / log)
            stack.callback(run.wait)
            stack.callback(run.kill)  # without effect on one that has ended
            return run

        runs = {CLONED: start(CLONED, CLONED)}
        alive = killing.kill(start(BARE, "killed"), BARE, KILLED_AFTER)
        runs[BARE] = start(BARE, BARE)
        for name, run in runs.items():
            code = run.wait(UP_SECONDS)
            said = (place / name).read_text(errors="replace")[-6000:]
            assert code == 0, f"seed {SEED}, killed after {KILLED_AFTER:.1f} s, {name}: {said}"
        status = {name: who.json("status", name) for name, (who, _) in ups.items()}
        yield Pair({BARE: there, CLONED: cli}, surroundings, alive, status)


def test_offline_what_is_missing_is_named_first(surroundings: Island, place: Path) -> None:
    there = island.Islander(place / "nothing", place / "nothing" / "cache")
    description = str(place / "cluster.yaml")
    missing = there.run("up", "-f", description, "--offline", check=False)
    assert missing.returncode == 6
    assert "12 artifacts" in missing.stderr
    assert "machine image nspawn" in missing.stderr
    assert "ohmykube bundle create" in missing.stderr
    assert surroundings.left() == []


def test_a_killed_run_is_resumed(pair: Pair) -> None:
    """Nothing of it lives on, and the next one ends with a healthy cluster."""
    assert pair.alive == [], f"seed {SEED}, killed after {KILLED_AFTER:.1f} s"
    assert pair.status[BARE]["health"] == "healthy", f"seed {SEED}: {pair.status}"


def test_a_build_of_templates_leaves_nothing_else(cli: Cli, pair: Pair, stored: Path) -> None:
    assert pair
    assert wait_gone(build_name(cli.home / "data")) == NOTHING
    assert [path.name for path in stored.iterdir() if path.name.startswith("tmp-")] == []


def test_two_at_once_do_not_meet(cli: Cli, pair: Pair) -> None:
    servers = set()
    for name in (BARE, CLONED):
        assert [n["name"] for n in pair.status[name]["nodes"]] == ["cp1"]
        assert pair.status[name]["health"] == "healthy"
        servers.add(cli.kubectl(name, "config", "view", "-ojsonpath={.clusters[0].cluster.server}"))
    assert len(servers) == 2


def test_a_cloned_node_is_what_a_bare_one_becomes(cli: Cli, pair: Pair) -> None:
    """Takes long, as every file of two nodes is read."""
    assert pair
    bare, cloned = (cli.on(name, "cp1", "sh", "-c", CONTENT).splitlines() for name in WAYS)
    assert len(bare) > 40
    assert sorted(set(bare) ^ set(cloned)) == []


def test_a_clone_needs_at_most_twelve_tasks(cli: Cli, pair: Pair) -> None:
    """Each task costs time on each node; what a template brings needs no look of its own."""
    assert pair
    done = {}
    for name in WAYS:
        *_, whole = sorted((cli.home / "state/clusters" / name / "runs").iterdir())
        log = (whole / "ansible.log").read_text()
        done[name] = int(re.findall(r"recap +ok=(\d+)", log)[0])
    assert 0 < done[CLONED] <= MOST_ON_A_CLONE


def test_verify_runs_the_playbook_and_changes_nothing(cli: Cli, pair: Pair) -> None:
    """Takes long, as a playbook that changes nothing still looks at everything."""
    assert pair
    runs = cli.home / "state/clusters" / CLONED / "runs"
    plays = len(list(runs.glob("*/ansible.log")))
    assert "nothing changed" in cli.run("up", "--name", CLONED).stdout
    assert len(list(runs.glob("*/ansible.log"))) == plays, "nothing differs"
    assert "nothing changed" in cli.run("up", "--name", CLONED, "--verify").stdout
    assert len(list(runs.glob("*/ansible.log"))) == plays + 1


def test_nobody_has_the_identity_of_a_template(cli: Cli, pair: Pair, stored: Path) -> None:
    assert pair
    ids = {cli.on(name, "cp1", "cat", "/etc/machine-id") for name in WAYS}
    assert len(ids) == 2
    records = cli.home / "state" / "clusters"
    secrets = [(records / name / "cache-token").read_bytes() for name in WAYS]
    names = [str(path.relative_to(stored)) for path in stored.rglob("*") if path.is_file()]
    assert [n for n in names if "ssh_host" in n or "machine-id" in n or "hosts.toml" in n] == []
    for path in stored.rglob("lower/**/*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20:
            assert not [s for s in secrets if s in path.read_bytes()], path


def test_clones_leave_their_template_alone_and_do_not_need_it(
    cli: Cli, pair: Pair, stored: Path
) -> None:
    """Its bytes are the same after a clone wrote; when it is gone the clone can be repaired.

    Takes long, as a repair is a whole `up` over a node on which programs are wrong or missing.
    """
    assert pair
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


def test_an_export_is_read_by_containerd(pair: Pair, place: Path) -> None:
    """Import an export with an image and a package with `ctr` on a node: one image, whole."""
    there = pair.cli[BARE]
    target = place / "pause.omk.tar"
    packages = ["containerd"]  # what is no image must not become one
    images = [r["name"] for r in there.json("cache", "ls")["items"] if "/pause:" in r["name"]]
    there.run("cache", "export", *images, *packages, "--to", str(target))
    root = there.home / "data" / "nspawn" / BARE / "nodes" / "cp1" / "root"
    shutil.copy(target, root / "etc" / "ohmykube" / "pause.omk.tar")

    def ctr(*words: str) -> list[str]:
        return there.on(BARE, "cp1", "ctr", "-n", "bundle", *words).splitlines()

    ctr("images", "import", "/etc/ohmykube/pause.omk.tar")
    assert ctr("images", "list", "-q") == images
    (checked,) = ctr("images", "check")[1:]
    assert "complete (2/2)" in checked


def test_the_outside_is_closed_offline_and_opened_in_place(
    pair: Pair, place: Path, bundle: str, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """Pods get pages, names and images as soon as the file opens them, and no packet leaves before.

    Takes long for two runs of `up` and a pod whose image is pulled.
    """
    again = ("--offline", "--bundle", bundle)
    outside.check((pair.cli[BARE], pair.island), BARE, place, again, eventually)


def test_down_takes_exactly_one(cli: Cli, pair: Pair) -> None:
    pair.cli[BARE].run("down", BARE, "--yes")
    assert wait_gone(BARE) == NOTHING
    assert cli.json("status", CLONED)["health"] == "healthy"
    assert cli.json("down", BARE, "--yes")["existed"] is False
    cli.run("down", CLONED, "--yes")
    assert wait_gone(CLONED) == NOTHING


def test_a_cluster_from_a_bundle_sends_no_packet_away(pair: Pair) -> None:
    """From the first `up` to the `down`; and its blobs were used where they lie."""
    assert pair.island.left() == []
    # Of 200 MB the cache has what only it can make.
    cache = pair.cli[BARE].cache / "oci"
    assert sum(p.stat().st_size for p in cache.rglob("*") if p.is_file()) < 1 << 20
    assert pair.island.sees(), "the test sees nothing"
