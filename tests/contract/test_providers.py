"""One suite for every provider: the fake, nspawn, and ssh against nodes that exist already."""

from __future__ import annotations

import json
import shlex
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from outside import new_cluster_name, reach, traces

from ohmykube.kit.paths import Paths
from ohmykube.model.cluster import Cluster, Host, Node, Role
from ohmykube.providers.base import ProviderContext
from ohmykube.providers.ssh.provider import SshProvider
from ohmykube.testing.conformance import (
    ExposureConformance,
    ProviderConformance,
    Subject,
    TemplatesConformance,
)
from ohmykube.testing.fake_exposure import FakeExposingProvider
from ohmykube.testing.fake_provider import FakeProvider
from ohmykube.testing.fake_templates import FakeCloningProvider
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ohmykube.kit.process import Result
    from ohmykube.model.exposure import ExposedPort
    from ohmykube.model.machine import Machine
    from ohmykube.providers.nspawn.provider import NspawnProvider


CGROUP = Path("/sys/fs/cgroup")


class TestFake(ProviderConformance):
    """The fake keeps the contract, so tests above it may rely on it."""

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        """Give a fake over an empty directory."""
        return fake_subject(tmp_path)


def fake_subject(tmp_path: Path) -> Subject:
    """Return a fake over an empty directory."""
    paths = Paths(state=tmp_path / "s", data=tmp_path / "d", cache=tmp_path / "c")
    context = ProviderContext(paths=paths, reporter=RecordingReporter())
    return Subject(
        open=lambda _cluster: FakeProvider(context),
        cluster="dev",
        other="dev-2",
        nodes=("cp1", "w1"),
        damage=FakeProvider(context).break_machine,
        answers=lambda machine: machine in FakeProvider(context).list(machine.cluster),
        sizes=lambda cluster, node: FakeProvider(context).sizes(cluster, node)[:2],
        read=partial(_read_fake, FakeProvider(context)),
        write=partial(_write_fake, FakeProvider(context)),
    )


def _read_fake(fake: FakeProvider, cluster: str, node: str, path: str) -> str:
    file, _ = fake.path_of(cluster, node, path)
    return file.read_text() if file is not None and file.is_file() else ""


def _write_fake(fake: FakeProvider, cluster: str, node: str, path: str) -> bool:
    file, read_only = fake.path_of(cluster, node, path)
    if file is None or read_only:
        return False
    file.write_text("written")
    return True


class TestFakeExposure(ExposureConformance):
    """The fake gives ports of its host."""

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        """Give a fake over an empty directory."""
        paths = Paths(state=tmp_path / "s", data=tmp_path / "d", cache=tmp_path / "c")
        context = ProviderContext(paths=paths, reporter=RecordingReporter())
        return replace(fake_subject(tmp_path), open=lambda _cluster: FakeExposingProvider(context))


class TestFakeShared(TestFake):
    """Also when all tests share one subject."""

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, tmp_path_factory: pytest.TempPathFactory) -> Subject:
        """Give a fake over an empty directory."""
        return fake_subject(tmp_path_factory.mktemp("fake"))


class TestFakeTemplates(TemplatesConformance):
    """So does the fake that clones."""

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        """Give a fake over an empty directory."""
        return fake_cloning_subject(tmp_path)


class TestFakeTemplatesShared(TestFakeTemplates):
    """Also when all tests share one subject."""

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, tmp_path_factory: pytest.TempPathFactory) -> Subject:
        """Give a fake over an empty directory."""
        return fake_cloning_subject(tmp_path_factory.mktemp("fake"))


def fake_cloning_subject(tmp_path: Path) -> Subject:
    """Return a fake that clones, over an empty directory."""
    paths = Paths(state=tmp_path / "s", data=tmp_path / "d", cache=tmp_path / "c")
    context = ProviderContext(paths=paths, reporter=RecordingReporter())
    fake = FakeCloningProvider(context)
    return Subject(
        open=lambda _cluster: FakeCloningProvider(context),
        cluster="dev",
        other="dev-2",
        nodes=("cp1", "w1"),
        mark=fake.mark,
        marked=fake.marked,
        answers=lambda machine: machine in fake.list(machine.cluster),
    )


def _limits(cluster: str, node: str) -> tuple[float, int]:
    """Return the limits of a node's cgroup, as the kernel has them, which the node sees too."""
    found: dict[str, str] = {}
    for top in (CGROUP, *CGROUP.iterdir()):
        group = top / "omk" / cluster / node
        for name in ("cpu.cfs_quota_us", "cpu.max", "memory.limit_in_bytes", "memory.max"):
            if (group / name).exists():
                found[name.partition(".")[0]] = (group / name).read_text().split()[0]
    limits = int(found["cpu"]) / 100_000, int(found["memory"]) >> 20
    for top in (CGROUP, *CGROUP.iterdir()):
        for process in (top / "omk" / cluster / node).glob("**/cgroup.procs"):
            for pid in process.read_text().split():
                root = Path("/proc", pid, "root")
                if (root / "etc/ohmykube/machine.json").exists():
                    online = (root / "sys/devices/system/cpu/online").read_text()
                    total = (root / "proc/meminfo").read_text().split()[1]
                    assert (online.count(",") + 1, int(total) >> 10) == limits
                    return limits
    return limits


@pytest.mark.nodes
class TestNspawn(ProviderConformance):
    """System containers on this host."""

    @pytest.fixture(scope="class")
    @classmethod
    def subject(
        cls,
        tmp_path_factory: pytest.TempPathFactory,
        nspawn_at: Callable[[Path], NspawnProvider],
    ) -> Iterator[Subject]:
        """Give nspawn over an empty data directory."""
        tmp_path = tmp_path_factory.mktemp("nspawn")
        cluster_name = new_cluster_name()
        other = f"{cluster_name}-2"

        def on(cluster: str, node: str, command: str) -> Result:
            machines = {m.node: m for m in nspawn_at(tmp_path).list(cluster)}
            return reach(machines[node], tmp_path, command)

        yield Subject(
            open=lambda _cluster: nspawn_at(tmp_path),
            cluster=cluster_name,
            other=other,
            nodes=("cp1", "w1"),
            answers=lambda machine: reach(machine, tmp_path).code == 0,
            damage=partial(_forget_complete, tmp_path),
            sizes=_limits,
            read=lambda c, n, path: on(c, n, f"cat {shlex.quote(path)}").stdout,
            write=lambda c, n, p: on(c, n, f"echo written >{shlex.quote(p)}").code == 0,
        )
        for cluster in (cluster_name, other):
            for node in ("cp1", "w1"):
                nspawn_at(tmp_path).delete(cluster, node)
        assert traces(cluster_name) == {}
        assert not (tmp_path / "data" / "nspawn").exists()


@pytest.mark.nodes
class TestNspawnExposure(ExposureConformance):
    """The ssh of system containers, on ports of this host."""

    @pytest.fixture(scope="class")
    @classmethod
    def subject(
        cls,
        tmp_path_factory: pytest.TempPathFactory,
        nspawn_at: Callable[[Path], NspawnProvider],
    ) -> Iterator[Subject]:
        """Give nspawn over an empty data directory."""
        tmp_path = tmp_path_factory.mktemp("nspawn")
        cluster_name = new_cluster_name()
        other = f"{cluster_name}-2"
        yield Subject(
            open=lambda _cluster: nspawn_at(tmp_path),
            cluster=cluster_name,
            other=other,
            nodes=("cp1", "w1"),
            reached=greeted,
            port=22,
        )
        for cluster in (cluster_name, other):
            nspawn_at(tmp_path).delete(cluster, "cp1")
        assert traces(cluster_name) == {}
        assert not (tmp_path / "data" / "nspawn").exists()


def greeted(place: str, _port: ExposedPort) -> bool:
    """Tell whether an ssh server answers there."""
    host, _, port = place.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


@pytest.mark.nodes
class TestNspawnTemplates(TemplatesConformance):
    """System containers that are clones of one."""

    @pytest.fixture(scope="class")
    @classmethod
    def subject(
        cls,
        tmp_path_factory: pytest.TempPathFactory,
        nspawn_at: Callable[[Path], NspawnProvider],
    ) -> Iterator[Subject]:
        """Give nspawn over an empty data directory."""
        tmp_path = tmp_path_factory.mktemp("nspawn")
        cluster_name = new_cluster_name()

        def on(cluster: str, node: str, command: str) -> Result:
            machines = {m.node: m for m in nspawn_at(tmp_path).list(cluster)}
            return reach(machines[node], tmp_path, command)

        yield Subject(
            open=lambda _cluster: nspawn_at(tmp_path),
            cluster=cluster_name,
            other=f"{cluster_name}-2",
            nodes=("cp1", "w1"),
            answers=lambda machine: reach(machine, tmp_path).code == 0,
            mark=lambda c, n: assert_ok(on(c, n, "echo mark >/etc/mark; echo mark >/opt/mark")),
            marked=lambda c, n: on(c, n, "cat /etc/mark /opt/mark").stdout == "mark\nmark\n",
        )
        provider = nspawn_at(tmp_path)
        for node in ("cp1", "w1"):
            provider.delete(cluster_name, node)
        provider.sweep_templates()
        for template in provider.templates():
            provider.remove_template(template.key)
        assert traces(cluster_name) == {}
        assert not (tmp_path / "data" / "nspawn").exists()
        assert not (tmp_path / "data" / "nspawn-templates").exists()


def assert_ok(result: Result) -> None:
    """Fail with what the command said."""
    assert result.code == 0, result.stderr


def _forget_complete(home: Path, cluster: str, node: str) -> None:
    """Leave a node as a crash in the middle of its creation does."""
    path = home / "data" / "nspawn" / cluster / "nodes" / node / "machine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"complete": False}))


@pytest.mark.nodes
class TestSsh(ProviderConformance):
    """Hosts that exist; here they are nodes behind forwarded ports, with their keys pinned."""

    @pytest.fixture(scope="class")
    @classmethod
    def subject(
        cls,
        tmp_path_factory: pytest.TempPathFactory,
        bare_nodes: tuple[NspawnProvider, str, list[Machine]],
    ) -> Iterator[Subject]:
        """Give ssh with two clusters over three hosts."""
        tmp_path = tmp_path_factory.mktemp("ssh")
        hosts = pinned_hosts(bare_nodes)
        clusters = {
            "dev": {"cp1": hosts[0], "w1": hosts[1]},
            "dev-2": {"cp1": hosts[2]},
        }

        bare = {machine.address: machine for machine in bare_nodes[2]}

        def make(cluster: str) -> SshProvider:
            return ssh_provider(tmp_path, cluster, clusters[cluster])

        yield Subject(
            open=make,
            cluster="dev",
            other="dev-2",
            nodes=("cp1", "w1"),
            answers=lambda machine: reach(bare[machine.address], tmp_path).code == 0,
        )
        for cluster, nodes in clusters.items():
            for node in nodes:
                make(cluster).delete(cluster, node)
        for machine in bare_nodes[2]:
            listing = reach(machine, tmp_path, "ls -A /var/lib/ohmykube 2>/dev/null")
            assert listing.stdout == ""


def pinned_hosts(nodes: tuple[NspawnProvider, str, list[Machine]]) -> list[Host]:
    """Return the nodes as hosts that are reached through forwarded ports."""
    provider, cluster, machines = nodes
    found = []
    for machine in machines:
        assert machine.ssh is not None
        assert machine.ssh.known_hosts is not None
        keys = dict(line.split(" ", 1) for line in machine.ssh.known_hosts.read_text().splitlines())
        address, port = provider.api_endpoint(cluster, machine.address, 22)
        found.append(
            Host(
                address=address,
                port=port,
                user="root",
                identity_file=machine.ssh.identity_file,
                host_key=keys[machine.address],
            )
        )
    return found


def ssh_provider(
    home: Path, cluster: str, hosts: dict[str, Host], configuration: tuple[Path, ...] = ()
) -> SshProvider:
    """Return the ssh provider for a cluster over these hosts."""
    nodes = tuple(
        Node(
            name=name,
            role=Role.CONTROL_PLANE if name.startswith("cp") else Role.WORKER,
            host=host,
        )
        for name, host in hosts.items()
    )
    wanted = Cluster(name=cluster, kubernetes_version="1.36.3", provider="ssh", nodes=nodes)
    paths = Paths(state=home / "s", data=home / "d", cache=home / "c")
    context = ProviderContext(paths=paths, reporter=RecordingReporter(), cluster=wanted)
    return SshProvider(context, configuration=configuration)
