"""Bad input and bad hosts through the real command: what, why, what to type, nothing touched.

What needs no host of its own runs in this process, see ``in_process``; that this is the same as a
process is shown for one case of each way to end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests import unmeasured
from tests.e2e.conftest import NOTHING, REPOSITORY, Cli, wait_gone
from tests.e2e.in_process import InProcess
from tests.e2e.refusals import content, refusal, remember

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "bad"


@pytest.fixture(autouse=True)
def _fake_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands in a process of their own find the provider that pytest's own process finds."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "tests" / "distributions"))


@pytest.fixture
def own(tmp_path: Path) -> Cli:
    """Return the CLI in this process, with a home and a cache of its own, both empty."""
    return InProcess(tmp_path / "omk", tmp_path / "cache")


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
            "kubeletConfiguration": {"evictionHard": {evil: evil}},
        },
    }
    file.write_text(yaml.safe_dump(document))
    assert own.json("up", "-f", str(file), "--plan")["changes"]
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
    remember(own, NAME)
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


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 1, "sha256": "00", "cluster": {}}'])
def test_a_damaged_record(own: Cli, damage: str) -> None:
    remember(own, NAME).write_text(damage)
    for command in (["status", NAME], ["up", "--name", NAME], ["kubeconfig", NAME]):
        refused(own, command, 12, NAME)


def test_a_record_of_a_newer_release(own: Cli) -> None:
    file = remember(own, NAME)
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 99}))
    for command in (["status", NAME], ["up", "--name", NAME], ["down", NAME, "--yes"]):
        refused(own, command, 12, "99")


def test_down_leaves_a_cluster_alone_whose_name_only_begins_so(own: Cli) -> None:
    other = remember(own, f"{NAME}-2")
    remember(own, NAME)
    own.run("down", NAME, "--yes")
    assert [item["name"] for item in own.json("list")["items"]] == [f"{NAME}-2"]
    assert other.is_file()


# -- a process of its own --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["list", "-o", "json"], 0),
        (["up", "--workers", "-1"], 2),
        (["up", "-f", "cluster.yaml"], 3),
        (["kubeconfig", "none"], 6),
        (["status", NAME], 12),
    ],
    ids=["result", "usage", "config", "not-found", "damage"],
)
def test_the_process_ends_as_the_call(
    own: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    """The other ways to end, with 7, 8 and 11, are only tried in processes, below."""
    (tmp_path / "cluster.yaml").write_text(FILES["unknown-key"][0])
    monkeypatch.chdir(tmp_path)
    remember(own, "other")
    remember(own, NAME).write_text("{")
    here = own.run(*arguments, check=False)
    alone = Cli(own.home, own.cache).run(*arguments, check=False, timeout=120)
    assert here.returncode == code
    assert (here.returncode, here.stdout) == (alone.returncode, alone.stdout)
    assert here.stderr == alone.stderr
    assert ("" if code else "other") in here.stdout


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
            [*seen_by_all(public), *drop, *cli.argv("up", "--provider", "nspawn", *more)],
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


def seen_by_all(public: Path) -> list[str]:
    """Return the start of a command line that lets every user read this Python and this checkout.

    Both may lie below a directory that is root's alone; in a mount namespace of its own the command
    sees them in a directory that anybody may enter.
    """
    script, open_for = "", {}
    for place in (Path(sys.base_prefix).resolve(), REPOSITORY):
        private = [parent for parent in place.parents if not parent.stat().st_mode & 0o001]
        if private:
            top = open_for.setdefault(private[-1], public / f"top-{len(open_for)}")
            inside = top / place.relative_to(private[-1])
            inside.mkdir(parents=True, exist_ok=True)
            script += f"mount --rbind {place} {inside}\n"
    for private_top, top in open_for.items():
        script += f"mount --rbind {top} {private_top}\n"
    return ["unshare", "--mount", "--", "sh", "-ec", f'{script}exec "$@"', "sh"]


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


def test_users_have_no_provider_for_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH")
    cli = Cli(tmp_path / "omk", tmp_path / "cache")
    done = cli.run("up", "--provider", "fake", check=False, timeout=60)
    refusal(done, 3, "must be one of auto, lima, nspawn, ssh")


def test_a_mirror_that_is_not_there(own: Cli, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    mirror = {"sources": ["mirror"], "mirror": str(tmp_path / "nowhere")}
    spec = {"provider": {"name": "fake"}, "artifacts": mirror}
    file.write_text(yaml.safe_dump({**yaml.safe_load(HEAD), "spec": spec}))
    refusal(own.run("up", "-f", str(file), check=False), 11, "nowhere")
    assert own.json("list")["items"] == []
