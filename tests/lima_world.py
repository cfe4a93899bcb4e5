"""A home of Lima with a limactl without machines, for tests of the provider and all above it."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Cluster, Node, Role
from ohmykube.providers.base import ProviderContext
from ohmykube.providers.lima import host_ports, lima_home, marker, names, state
from ohmykube.providers.lima.external_calls import ExternalCalls
from ohmykube.providers.lima.limactl import Limactl
from ohmykube.providers.lima.machines import Timeouts
from ohmykube.providers.lima.network import Networks
from ohmykube.providers.lima.preflight import Host
from ohmykube.providers.lima.provider import LimaProvider
from ohmykube.testing import fake_limactl
from ohmykube.testing.fake_limactl.in_process import InProcess
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ohmykube.kit import process
    from ohmykube.model.machine import Machine, SshTarget
    from ohmykube.providers.lima.host_ports import RelayCommand
    from ohmykube.providers.lima.limactl import Runner

TIMEOUTS = Timeouts(boot=5, orderly=5, answer=0.6, at_once=2)


class OneAtATime:
    """Lets one call of the fake run at a time: it forks, and forks of threads would mix."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._call = InProcess(environ)
        self._lock = threading.Lock()
        self.calls: list[tuple[str, ...]] = []

    def __call__(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: bool = True,
    ) -> process.Result:
        with self._lock:
            self.calls.append(tuple(argv[3:]))
            return self._call(argv, timeout=timeout, input=input, env=env, cwd=cwd, check=check)


class Guests:
    """Guests that tell the time of this host, or another one."""

    def __init__(self) -> None:
        self.behind = 0
        self.silent = False
        self.noon = False
        self.card = '[{"addr_info": [{"scope": "global", "local": "192.0.2.7"}]}]'
        self.asked: list[tuple[str, ...]] = []

    def answers(self, host: str, port: int) -> bool:
        """Answer at the port of ssh, unless silent."""
        return not self.silent and state.has_ssh_banner(host, port)

    def __call__(self, _target: SshTarget, argv: Sequence[str], /) -> str:
        self.asked.append(tuple(argv))
        if argv[0] == "sh" or self.noon:
            return ""
        return self.card if argv[0] == "ip" else f"{int(time.time()) - self.behind}\n"


@dataclass(frozen=True)
class World:
    """A home, and what is beside it."""

    root: Path
    program: Path
    run: Runner
    relay: RelayCommand = host_ports.relay_command
    """Opens the network of machines to the process that holds ports."""
    guests: Guests = field(default_factory=Guests)
    reporter: RecordingReporter = field(default_factory=RecordingReporter)

    @property
    def image(self) -> Path:
        """What the machines boot from."""
        return self.root / "image.qcow2"

    @property
    def home(self) -> lima_home.Home:
        """The home."""
        return lima_home.Home(self.root / "h")

    @property
    def limactl(self) -> Limactl:
        """The limactl of that home, past the provider."""
        return Limactl(self.home.root, program=str(self.program), run=self.run)

    @property
    def networks(self) -> Networks:
        """The networks of that home."""
        return Networks(self.home, self.limactl, tuple, self.command_of)

    def command_of(self, pid: int) -> str:
        """Return what a process of the fake would be called as one of limactl."""
        found = {one: path.parent for path, one in fake_limactl.processes(self.home.root).items()}
        if pid not in found:
            return "python"
        place = found[pid]
        return f"limactl usernet -e {place}/{place.name}_ep.sock"

    def plant(self, *faults: str) -> None:
        """Let these faults happen once."""
        fake_limactl.plant(self.home.root, *faults)

    def cluster(self, name: str = "dev", *, node: Node | None = None, **options: object) -> Cluster:
        """Return a cluster with a control plane and a worker that boot from our image."""
        nodes = (
            node or Node(name="cp1", role=Role.CONTROL_PLANE),
            Node(name="w1", role=Role.WORKER),
        )
        given = options if "template" in options else {"image": str(self.image), **options}
        return Cluster(
            name=name,
            kubernetes_version="1.36.3",
            provider="lima",
            nodes=nodes,
            provider_options=given,
        )

    def provider(self, cluster: Cluster | None = None, host: Host | None = None) -> LimaProvider:
        """Return a provider as another process would make it."""
        paths = Paths(state=self.root / "s", data=self.root / "d", cache=self.root / "c")
        context = ProviderContext(
            paths=paths, reporter=self.reporter, cluster=cluster or self.cluster()
        )
        return LimaProvider(
            context,
            home=self.home,
            host=host or Host(system="linux", uid=1000, architecture="amd64"),
            external=ExternalCalls(
                program=str(self.program),
                run=self.run,
                ask=self.guests,
                answers=self.guests.answers,
                command_of=self.command_of,
                flatten=stand_alone,
                relay=self.relay,
            ),
            timeouts=TIMEOUTS,
        )

    def directory(self, cluster: str, node: str) -> Path:
        """Return the directory of a machine."""
        return self.home.directory(names.instance(cluster, node))

    def lives(self, machine: Machine) -> bool:
        """Tell whether the processes of a machine live."""
        path = self.directory(machine.cluster, machine.node) / "ha.pid"
        return path in fake_limactl.processes(self.home.root)

    def sizes(self, cluster: str, node: str) -> tuple[float, int]:
        """Return cores and MiB of memory with which a machine was started last."""
        found = yaml.safe_load((self.directory(cluster, node) / "lima.yaml").read_text())
        return found["cpus"], int(found["memory"].removesuffix("MiB"))

    def damage(self, cluster: str, node: str) -> None:
        """Leave a machine as a crash in the middle of its creation does."""
        directory = self.directory(cluster, node)
        found = marker.read(directory)
        assert found is not None
        marker.write(directory, replace(found, complete=False))


def stand_alone(directory: Path) -> None:
    """Do to a disk of the fake what qemu-img does to a real one."""
    for name in ("basedisk", "backing"):
        (directory / name).unlink(missing_ok=True)


@contextmanager
def world(
    profile: str = "2.0.3", relay: RelayCommand = host_ports.relay_command, **environ: str
) -> Iterator[World]:
    """Give an empty home, with a path that is short enough for sockets; nothing of it is left."""
    root = Path(tempfile.mkdtemp(prefix="omk", dir="/tmp"))
    settings = {"FAKE_LIMA_PROFILE": profile, **environ}
    program = fake_limactl.install(root / "bin", settings)
    (root / "image.qcow2").touch()
    try:
        yield World(root, program, OneAtATime(settings), relay)
    finally:
        fake_limactl.reap(root / "h")
        shutil.rmtree(root)
