"""Whole commands against real nodes: the CLI as a user runs it, one home for the session."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ohmykube.state import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
UP_SECONDS = 2700
"""A first `up` may have to build every component."""


@dataclass(frozen=True)
class Cli:
    """Runs `ohmykube` with a home of its own and the shared cache."""

    home: Path
    cache: Path
    _kubeconfigs: dict[str, str] = field(default_factory=dict, init=False, compare=False)

    @property
    def env(self) -> dict[str, str]:
        """Return the environment of the command."""
        return {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "OHMYKUBE_HOME": str(self.home),
            "OHMYKUBE_CACHE_DIR": str(self.cache),
        }

    @property
    def near_api(self) -> list[str]:
        """Return the start of a command line that runs where clusters' APIs can be reached."""
        return []

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [str(BIN / "ohmykube"), *arguments]

    def run(
        self, *arguments: str, check: bool = True, timeout: float = UP_SECONDS, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; with ``check`` a code other than 0 shows what the command said."""
        done = subprocess.run(
            self.argv(*arguments),
            env={**self.env, **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(
                f"ohmykube {' '.join(arguments)} ended with {done.returncode}\n"
                f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}",
                pytrace=False,
            )
        return done

    def json(self, *arguments: str) -> Any:
        """Run with ``-o json`` and return the document."""
        return json.loads(self.run(*arguments, "-o", "json").stdout)

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start in the background, in a session of its own; what it says goes to ``log``."""
        with log.open("wb") as said:
            return subprocess.Popen(
                self.argv(*arguments),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def on(self, cluster: str, node: str, *command: str) -> str:
        """Run a command on a node, as ``ohmykube shell`` does, which takes longer to start."""
        config = self.home / "state" / "clusters" / cluster / layout.SSH_CONFIG
        ssh = ["ssh", "-F", str(config), node, "--", shlex.join(command)]
        done = subprocess.run(
            [*self.argv()[:-1], *ssh],  # where, and as whom, the program would run
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(f"{command} on {node}\n{done.stdout}\n{done.stderr}", pytrace=False)
        return done.stdout

    def kubectl(self, cluster: str, *arguments: str, stdin: str = "") -> str:
        """Run our kubectl on this host with the cluster's kubeconfig."""
        if cluster not in self._kubeconfigs:  # asked for once: it is a process for each call
            self._kubeconfigs[cluster] = self.run("kubeconfig", cluster, "--path").stdout.strip()
        config = self._kubeconfigs[cluster]
        binaries = sorted((self.home / "data" / "bin").glob("kubectl-*"))
        program = str(binaries[-1]) if binaries else "kubectl"
        done = subprocess.run(
            [*self.near_api, program, "--kubeconfig", config, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(
                f"kubectl {' '.join(arguments)}\n{done.stdout}\n{done.stderr}", pytrace=False
            )
        return done.stdout


def traces(name: str) -> dict[str, list[str]]:
    """Return what of the clusters called ``name`` is left on this host, by kind."""
    mark = f"omk-{name}"
    netns = Path("/run/netns")
    namespaces = [p.name for p in netns.iterdir()] if netns.is_dir() else []
    mounts = Path("/proc/mounts").read_text().splitlines()
    cgroups = subprocess.run(
        ["find", "/sys/fs/cgroup", "-path", f"*/omk/{name}", "-o", "-path", f"*/omk/{name}/*"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    return {
        "namespaces": [n for n in namespaces if n == mark or n.startswith(f"{mark}.")],
        "mounts": [line for line in mounts if f"/nspawn/{name}/" in line],
        "cgroups": cgroups,
        "processes": processes(f"/nspawn/{name}/") + processes(f"{mark} "),
    }


def processes(text: str) -> list[str]:
    """Return the command lines of processes that contain ``text``, ours not included."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line[:300])
    return found


NOTHING: dict[str, list[str]] = {"namespaces": [], "mounts": [], "cgroups": [], "processes": []}


def wait_gone(name: str, seconds: float = 30) -> dict[str, list[str]]:
    """Return what is left after at most ``seconds``: shared ssh connections may need a moment.

    By themselves they stay for a minute.
    """
    end = time.monotonic() + seconds
    while (left := traces(name)) != NOTHING and time.monotonic() < end:
        time.sleep(0.2)
    return left


def pytest_configure() -> None:
    """Let fixtures remove their clusters too when the run is ended by SIGTERM or SIGHUP.

    As Ctrl-C does, and once: the clean-up that the first one began is not given up for the second.
    """
    ending = False

    def interrupt(_number: int, _frame: object) -> None:
        nonlocal ending
        if not ending:
            ending = True
            raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Cli]:
    """Return the CLI; whatever clusters a failed test left are removed at the end."""
    made = Cli(tmp_path_factory.mktemp("e2e") / "omk", shared_cache)
    yield made
    for summary in made.json("list")["items"]:
        made.run("down", summary["name"], "--yes", check=False)
    if os.geteuid() == 0:
        from tests.e2e.bare import nspawn  # nothing for those that make no nodes

        nspawn(made.home, made.cache).sweep_templates()  # an interrupted build is in no list
