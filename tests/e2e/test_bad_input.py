"""Bad input and bad hosts through the real command: what, why, what to type, nothing touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ohmykube.config import load
from ohmykube.config.document import to_document
from ohmykube.config.overrides import Overrides
from ohmykube.kit import process
from ohmykube.providers.nspawn import forward
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore
from tests import unmeasured
from tests.e2e.bare import Bare
from tests.e2e.conftest import NOTHING, Cli, wait_gone

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "bad"
MOST_LINES = 12


@pytest.fixture
def own(tmp_path: Path) -> Cli:
    """Return the CLI with a home and a cache of its own, both empty."""
    return Cli(tmp_path / "omk", tmp_path / "cache")


def content(*roots: Path) -> dict[str, str]:
    """Return every file below the roots with a digest; logs, locks and directories do not count."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for root in roots
        for path in root.rglob("*")
        if path.is_file() and "logs" not in path.parts and path.name != "lock"
    }


def refusal(done: subprocess.CompletedProcess[str], code: int, *says: str) -> str:
    """Check the manners of a failed command; return its error as one line."""
    _, start, text = done.stderr.partition("error[")
    assert start, f"code {done.returncode}: {done.stdout}{done.stderr}"
    assert done.returncode == code, text
    assert "Traceback" not in done.stderr
    assert len(text.splitlines()) <= MOST_LINES
    assert "\ntry: " in text
    line = " ".join(text.split())
    for part in says:
        assert part in line
    return line


def refused(cli: Cli, arguments: Sequence[str], code: int, *says: str, **extra: str) -> None:
    """Run a command that must fail without having touched anything."""
    before = content(cli.home, cli.cache)
    done = cli.run(*arguments, check=False, timeout=120, **extra)
    refusal(done, code, *says)
    assert done.stdout == ""
    assert content(cli.home, cli.cache) == before


# -- the cluster file ------------------------------------------------------------------------------

HEAD = f"apiVersion: ohmykube.dev/v1\nkind: Cluster\nmetadata: {{name: {NAME}}}\n"
FILES = {
    "unknown-key": (HEAD + "spec: {nodes: {workerz: {count: 2}}}", "spec.nodes.workerz", "workers"),
    "wrong-type": (HEAD + "spec: {nodes: {workers: {count: two}}}", "spec.nodes.workers.count"),
    "list-for-mapping": (HEAD + "spec: [1, 2]", "spec"),
    "duplicate-name": (HEAD + "spec: {nodes: {workers: {names: [a, b, a]}}}", '"a"'),
    "node-name": (HEAD + "spec: {nodes: {workers: {names: [Node_1]}}}", "Node_1"),
    "negative-count": (HEAD + "spec: {nodes: {workers: {count: -1}}}", "-1"),
    "malformed-cidr": (HEAD + "spec: {network: {podCIDR: 10.244.0.0/99}}", "10.244.0.0/99"),
    "overlapping-cidr": (
        HEAD + "spec: {network: {podCIDR: 10.96.0.0/12, serviceCIDR: 10.96.0.0/16}}",
        "spec.network",
    ),
    "version": (HEAD + 'spec: {kubernetes: {version: "1.20.1"}}', "1.20.1", "1.36"),
    "bomb": (
        HEAD
        + "x0: &x0 [bang]\n"
        + "".join(f"x{n + 1}: &x{n + 1} [{', '.join([f'*x{n}'] * 9)}]\n" for n in range(12)),
        "alias",
    ),
    "name-is-a-path": (HEAD.replace(NAME, "../../etc") + "spec: {}", "metadata.name"),
    "name-is-absolute": (HEAD.replace(NAME, "/tmp/x") + "spec: {}", "metadata.name"),
    "name-is-empty": (HEAD.replace(NAME, '""') + "spec: {}", "metadata.name"),
    "no-yaml": ("{[", "cluster.yaml:1:3"),
    "other-kind": ("apiVersion: apps/v1\nkind: Deployment\n", "apps/v1"),
}


@pytest.mark.parametrize(("text", "says"), [(v[0], v[1:]) for v in FILES.values()], ids=FILES)
def test_a_bad_file(own: Cli, tmp_path: Path, text: str, says: tuple[str, ...]) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    for command in (["up", "-f"], ["up", "--plan", "-f"], ["config", "validate", "-f"]):
        refused(own, [*command, str(file)], 3, *says)


def test_tags_run_nothing(own: Cli, tmp_path: Path) -> None:
    file, trace = tmp_path / "cluster.yaml", tmp_path / "trace"
    file.write_text(HEAD + f"spec: !!python/object/apply:os.system ['touch {trace}']\n")
    refused(own, ["up", "-f", str(file)], 3, "tag")
    assert not trace.exists()


def test_all_problems_are_told_at_once(own: Cli, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(
        HEAD + "spec: {nodes: {workers: {count: -1, cpu: 2}}, network: {podCIDR: 10.0.0.0}}"
    )
    says = ("spec.nodes.workers.count", "spec.nodes.workers.cpu", "spec.network.podCIDR")
    refused(own, ["up", "-f", str(file)], 3, *says)


def test_template_expressions_are_text(own: Cli, tmp_path: Path) -> None:
    """With a plan; that nothing runs on a whole run is a contract test of the inventory."""
    file, trace = tmp_path / "cluster.yaml", tmp_path / "trace"
    evil = f"{{{{ lookup('ansible.builtin.pipe', 'touch {trace}') }}}}"
    document = yaml.safe_load(HEAD)
    document["spec"] = {
        "provider": {"name": "fake"},
        "kubeadm": {
            "clusterConfiguration": {"apiServer": {"extraArgs": [{"name": "x", "value": evil}]}},
            "kubeletConfiguration": {evil: evil},
        },
    }
    file.write_text(yaml.safe_dump(document))
    assert own.json("up", "-f", str(file), "--plan")["actions"]
    shown = own.json("config", "show", "-f", str(file))
    assert evil in json.dumps(shown).encode().decode("unicode_escape")
    assert not trace.exists()


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", "/tmp/x", "../dev", "a/b", "", "-", "Dev", "a" * 41])
@pytest.mark.parametrize("command", [["up", "--name"], ["down", "--yes", "--name"]], ids="/".join)
def test_a_name_that_is_none(own: Cli, command: list[str], name: str) -> None:
    refused(own, [*command, name], 2, "cluster name")


@pytest.mark.parametrize("command", ["down", "status", "kubeconfig", "stop"])
def test_an_empty_name_is_never_the_only_cluster(own: Cli, command: str) -> None:
    """A variable that is not set must not become the one cluster that there is."""
    remember(own)
    more = ["--yes"] if command == "down" else []
    refused(own, [command, "", *more], 2, "cluster name")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--workers", "-1"], 2, "--workers"),
        (["--control-planes", "0"], 2, "--control-planes"),
        (["--workers", "many"], 2, "many"),
        (["--kubernetes", "1.20.1"], 3, "1.20.1"),
        (["--memory", "4"], 3, "4GiB"),
        (["--provider", "nope"], 3, "nope"),
        (["-f", "nowhere.yaml"], 3, "nowhere.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_options(own: Cli, arguments: list[str], code: int, says: str) -> None:
    refused(own, ["up", *arguments], code, says)


# -- what is remembered ----------------------------------------------------------------------------


def remember(cli: Cli, name: str = NAME, provider: str = "fake") -> Path:
    """Write the record of a cluster of one node; return its file."""
    cluster = load.from_overrides(Overrides(name=name, workers=0, provider=provider))
    store = StateStore(cli.home / "state")
    version = cluster.kubernetes_version
    made = Record(
        id="",
        name=name,
        document=to_document(cluster),
        provider=provider,
        kubernetes_version=version,
    )
    store.create(made)
    return store.directory(name) / "record.json"


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 1, "sha256": "00", "cluster": {}}'])
def test_a_damaged_record(own: Cli, damage: str) -> None:
    remember(own).write_text(damage)
    for command in (["status", NAME], ["up", "--name", NAME], ["kubeconfig", NAME]):
        refused(own, command, 12, NAME)


def test_a_record_of_a_newer_release(own: Cli) -> None:
    file = remember(own)
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 99}))
    for command in (["status", NAME], ["up", "--name", NAME], ["down", NAME, "--yes"]):
        refused(own, command, 12, "99")


def test_down_leaves_a_cluster_alone_whose_name_only_begins_so(own: Cli) -> None:
    other = remember(own, f"{NAME}-2")
    remember(own)
    own.run("down", NAME, "--yes")
    assert [item["name"] for item in own.json("list")["items"]] == [f"{NAME}-2"]
    assert other.is_file()


# -- this host -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_root")
def test_without_root(public: Path) -> None:
    home = public / "omk"
    home.mkdir()
    os.chown(home, 65534, 65534)
    cli = Cli(home, home / "cache")
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    for more in ([], ["--plan"]):
        done = subprocess.run(
            [*drop, *cli.argv("up", "--provider", "nspawn", *more)],
            env=unmeasured.environment(cli.env) | {"HOME": str(home)},
            cwd=public,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        refusal(done, 7, "root rights", "doctor")
        assert content(home) == {}


@pytest.mark.nodes
def test_without_a_program(own: Cli, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for directory in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
        for program in Path(directory).iterdir():
            target = programs / program.name
            if program.name != "systemd-nspawn" and not target.is_symlink():
                target.symlink_to(program)
    refused(
        own,
        ["up", "--provider", "nspawn"],
        7,
        "systemd-nspawn is not installed",
        "ohmykube doctor --fix",
        PATH=str(programs),
    )


def elsewhere(
    cli: Cli, flags: Sequence[str], script: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in new namespaces, after ``script`` in them."""
    inside = f'{script}\nexec "$@"'
    return subprocess.run(
        ["unshare", *flags, "--", "sh", "-ec", inside, "sh", *cli.argv(*arguments)],
        env=cli.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("provider", ["nspawn", "fake"])
def test_no_space_left(tmp_path: Path, shared_cache: Path, provider: str) -> None:
    home = tmp_path / "small"
    home.mkdir()
    cli = Cli(home, shared_cache)
    fill = f"mount -t tmpfs -o size=64k tmpfs {home}; head -c 64k /dev/zero >{home}/fill || true"
    name = f"{NAME}-space"
    done = elsewhere(cli, ["--mount"], fill, "up", "--name", name, "--provider", provider)
    refusal(done, 8, "no space left")
    assert wait_gone(name) == NOTHING


@pytest.mark.usefixtures("as_root")
def test_no_route_to_any_source(own: Cli, tmp_path: Path) -> None:
    """It is found out in seconds; no machine is made for what cannot be had."""
    file = tmp_path / "cluster.yaml"
    spec = {"provider": {"name": "fake"}, "artifacts": {"sources": ["upstream"]}}
    file.write_text(yaml.safe_dump({**yaml.safe_load(HEAD), "spec": spec}))
    done = elsewhere(own, ["--net"], "", "up", "-f", str(file))
    refusal(done, 11, "upstream")
    assert own.json("list")["items"] == []
    assert [p for p in (own.home / "data").rglob("*.json") if NAME in p.name] == []


def test_a_mirror_that_is_not_there(own: Cli, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    mirror = {"sources": ["mirror"], "mirror": str(tmp_path / "nowhere")}
    spec = {"provider": {"name": "fake"}, "artifacts": mirror}
    file.write_text(yaml.safe_dump({**yaml.safe_load(HEAD), "spec": spec}))
    refusal(own.run("up", "-f", str(file), check=False), 11, "nowhere")
    assert own.json("list")["items"] == []


# -- hosts and artifacts ---------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> int:
    """Return a port of this host on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.nodes
def test_a_host_that_refuses_ssh(tmp_path: Path, shared_cache: Path, closed_port: int) -> None:
    cli = Cli(tmp_path / "omk", shared_cache)
    file = tmp_path / "cluster.yaml"
    host = {"address": "127.0.0.1", "port": closed_port}
    nodes: dict[str, Any] = {"controlPlane": {"hosts": [host]}, "workers": {"count": 0}}
    spec = {"provider": {"name": "ssh"}, "nodes": nodes}
    file.write_text(yaml.safe_dump({**yaml.safe_load(HEAD), "spec": spec}))
    done = cli.run("up", "-f", str(file), check=False, timeout=2700)
    refusal(done, 14, "cp1", "Connection refused")
    assert cli.json("list")["items"] == []


@pytest.mark.nodes
def test_an_occupied_port_of_the_api(tmp_path: Path, shared_cache: Path) -> None:
    """A new cluster takes another port; one that had it says who is in the way, and keeps it."""
    nodes = Bare("bad-port", tmp_path / "omk", shared_cache)
    cli = Cli(nodes.home, shared_cache)
    remember(cli, nodes.name, "nspawn")
    first = forward.choose(nodes.name, (), lambda _: True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        try:
            nodes.make("cp1")
            address = nodes.address("cp1")
            endpoint = nodes.provider.api_endpoint(nodes.name, address, 6443)
            assert endpoint[0] == "127.0.0.1"
            assert endpoint[1] != first
            nodes.provider.stop(nodes.name, "cp1")
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind(endpoint)
                other.listen()
                done = cli.run("start", nodes.name, check=False, timeout=120)
                refusal(done, 5, f"port {endpoint[1]}", "is taken", "ss -ltnp")
            nodes.provider.start(nodes.name, "cp1")
            assert nodes.provider.api_endpoint(nodes.name, address, 6443) == endpoint
        finally:
            nodes.remove()
    assert wait_gone(nodes.name) == NOTHING


def copied(cache: Path, target: Path) -> Path:
    """Copy a cache by hard links and return the copy; the nodes' base image is only pointed to."""
    target.mkdir()
    argv = ["cp", "-al", str(cache / "oci"), str(cache / "refs.json"), str(target)]
    process.run(argv, timeout=120)
    (target / "nspawn").symlink_to(cache / "nspawn")
    return target


def package(cache: Path, role: str) -> Path:
    """Return the blob of a node package."""
    refs = json.loads((cache / "refs.json").read_text())
    entries = refs["refs"] if isinstance(refs, dict) else refs
    found = next(r for r in entries if (r["kind"], r["name"]) == ("package", role))
    blob: Path = cache / "oci" / "blobs" / found["digest"].replace(":", "/")
    return blob


def damage(blob: Path, kind: str) -> None:
    """Replace a blob by a damaged copy; the original behind the hard link stays."""
    data = bytearray(blob.read_bytes())
    if kind == "truncated":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 0xFF
    blob.unlink()
    blob.write_bytes(data)


@pytest.mark.nodes
@pytest.mark.parametrize("kind", ["truncated", "flipped"])
def test_a_damaged_package_never_reaches_a_node(
    tmp_path: Path, shared_cache: Path, cli: Cli, kind: str
) -> None:
    """It is found before it is sent, put aside, and nothing of it is installed."""
    if not (shared_cache / "refs.json").exists():
        cli.run("up", "--name", "bad-fill", "--workers", "0", "--provider", "nspawn")
        cli.run("down", "bad-fill", "--yes")
    cache = copied(shared_cache, tmp_path / "cache")
    blob = package(cache, "containerd")
    whole = tmp_path / "whole"
    shutil.copy2(blob, whole)
    damage(blob, kind)
    broken = Cli(tmp_path / "omk", cache)
    file = tmp_path / "cluster.yaml"
    spec = {
        "provider": {"name": "nspawn"},
        "nodes": {"workers": {"count": 0}},
        "artifacts": {"sources": ["build"]},
    }
    file.write_text(yaml.safe_dump({**yaml.safe_load(HEAD), "spec": spec}))
    try:
        done = broken.run("up", "-f", str(file), check=False, timeout=600)
        refusal(done, 12, "the cached package containerd", "is damaged", "ohmykube up")
        programs = broken.run("shell", "--name", NAME, "cp1", "--", "ls", "/usr/local/bin")
        assert programs.stdout == ""
        assert not blob.exists()
        assert (shared_cache / blob.relative_to(cache)).stat().st_size == whole.stat().st_size
    finally:
        broken.run("down", NAME, "--yes", check=False)
    assert wait_gone(NAME) == NOTHING
