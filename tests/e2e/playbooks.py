"""Playbooks by name on bare nodes, without the CLI: what the tests of the collection share."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from ohmykube.kube import api
from tests.e2e import test_packaging as packaging
from tests.e2e.bare import LEFT
from tests.e2e.conftest import NOTHING, wait_gone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

OF_A_NODE = ("cache_images", "containerd_artifacts", "kubeadm_artifacts")


class Reader(yaml.SafeLoader):
    """Reads inventories whose text is tagged as data."""


Reader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def read(path: Path) -> Any:
    """Return a YAML file's content."""
    return yaml.load(path.read_text(), Loader=Reader)  # a SafeLoader


@dataclass(frozen=True)
class Nodes:
    """Bare nodes, ``cp1`` and ``w1`` among them, and what their holder wrote for Ansible."""

    directory: Path

    @property
    def ssh_config(self) -> str:
        """Return the ssh configuration in which they are."""
        return (self.directory / "ready").read_text()

    @property
    def shared(self) -> dict[str, Any]:
        """Return the variables of all nodes, secrets included."""
        everything = read(self.directory / "hosts.yml")["all"]["children"]["k8s_cluster"]["vars"]
        secrets = read(self.directory / "group_vars" / "k8s_cluster" / "secrets.yml")
        return {**everything, **secrets}

    def artifacts(self, group: str, node: str) -> dict[str, Any]:
        """Return the variables of a node that lead to its packages and images."""
        groups = read(self.directory / "hosts.yml")["all"]["children"]
        own = groups[group]["hosts"][node]
        return {name: own[name] for name in OF_A_NODE}

    def __call__(self, node: str, argv: Sequence[str], stdin: str = "") -> str:
        """Run a command on a node as root; raises CalledProcessError."""
        done = subprocess.run(
            ["ssh", "-F", self.ssh_config, node, "--", *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        try:
            done.check_returncode()
        except subprocess.CalledProcessError as error:
            error.add_note(done.stderr)
            raise
        return done.stdout

    def left(self, node: str) -> list[str]:
        """Return what of our roles is on a node."""
        return self(node, ["sh", "-s"], LEFT).split("\n")[:-1]

    def kubectl(self, *arguments: str) -> str:
        """Return what kubectl on the control plane says; nothing of it stays in root's home."""
        base = ["kubectl", "--kubeconfig", api.ADMIN, "--cache-dir", api.CACHE]
        return self("cp1", [*base, *arguments])

    def get(self, *what: str) -> Any:
        """Return objects of the cluster as a document."""
        return json.loads(self.kubectl("get", *what, "-ojson"))


@contextlib.contextmanager
def bare_nodes(
    name: str, place: Path, cache: Path, *, control_planes: int = 1, workers: int = 1
) -> Iterator[Nodes]:
    """Make bare nodes, to which a process in the background serves the cache; then remove them."""
    made = Nodes(place / "inventory")
    env = packaging.environment(OHMYKUBE_HOME=str(place / "omk"), OHMYKUBE_CACHE_DIR=str(cache))
    count = ["--control-planes", str(control_planes), "--workers", str(workers)]

    def do(verb: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "ohmykube.testing.nodes", verb, "--name", name]
        return subprocess.run(
            [*argv, *count, "--inventory", str(made.directory)],
            env=env,
            cwd=packaging.ROOT,
            capture_output=True,
            text=True,
            timeout=2700,
            check=False,
        )

    try:
        done = do("up")
        assert done.returncode == 0, done.stderr
        yield made
    finally:
        gone = do("down")
    assert gone.returncode == 0, gone.stderr
    assert wait_gone(name) == NOTHING


@dataclass(frozen=True)
class Play:
    """What a playbook run came to: tasks executed and changed, by node."""

    ran: dict[str, int]
    changed: dict[str, int]
    output: str

    @property
    def tasks_with_changes(self) -> set[str]:
        """Return the tasks and handlers that changed something."""
        parts = TASK.split(self.output)[1:]
        return {
            name
            for name, said in zip(parts[::2], parts[1::2], strict=True)
            if re.search(r"^changed: ", said, re.MULTILINE)
        }


TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.+)\] \*+$", re.MULTILINE)
RECAP = re.compile(r"^(\S+)\s*: ok=(\d+)\s+changed=(\d+)\s+unreachable=0\s+failed=0", re.MULTILINE)


def attempt(
    book: str, *arguments: str, directory: Path, python: Path | None = None, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run a playbook in ``directory``, whatever becomes of it."""
    argv = [str(python or sys.executable), "-m", "ansible", "playbook", book, *arguments]
    return subprocess.run(
        argv,
        env=packaging.environment(ANSIBLE_PIPELINING="true", ANSIBLE_NOCOLOR="true", **extra),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def play(
    book: str, *arguments: str, directory: Path, python: Path | None = None, **extra: str
) -> Play:
    """Run a playbook in ``directory`` to its end; it must succeed on every node."""
    done = attempt(book, *arguments, directory=directory, python=python, **extra)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    found = RECAP.findall(done.stdout)
    assert found, done.stdout
    return Play(
        ran={node: int(ok) for node, ok, _ in found},
        changed={node: int(changed) for node, _, changed in found},
        output=done.stdout,
    )


def without_nodes(place: Path, *arguments: str, **environment: str) -> tuple[str, str]:
    """Run ``play.yml`` of a directory over its ``hosts.yml``; return its output and errors.

    Whether it fails is for the caller to see: that a play ran at all is asserted here.
    """
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", "play.yml", *arguments],
        env=packaging.environment(
            ANSIBLE_COLLECTIONS_PATH=str(packaging.ROOT / "collections"),
            ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default",
            ANSIBLE_NOCOLOR="true",
            **environment,
        ),
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "PLAY RECAP" in done.stdout, done.stdout + done.stderr
    return done.stdout, done.stderr
