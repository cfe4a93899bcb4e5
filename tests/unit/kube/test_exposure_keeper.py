"""Ports come and go with the cluster's services, and stay when the process does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit.dialer import DirectDialer
from ohmykube.kube.exposure import keeper as keeper_module
from ohmykube.kube.exposure.keeper import Keeper, read_report
from ohmykube.model.exposure import (
    AskedService,
    ExposedPort,
    Exposure,
    FixedPort,
    Orders,
    PortForward,
)
from tests.fake_api import FakeApi, certificate, pod, service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.linux


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return certificate(tmp_path_factory.mktemp("tls"))


def free(count: int = 1) -> list[int]:
    """Return ports of 127.0.0.1 that are free now."""
    with contextlib.ExitStack() as held:
        made = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in made:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in made]


class Cluster:
    """The files of a cluster's process, and the process as tasks of the test."""

    def __init__(self, root: Path, name: str = "dev") -> None:
        self.directory = root / name
        self.directory.mkdir(parents=True)
        self.orders_file = self.directory / "orders.json"
        self.report_file = self.directory / "report.json"
        self.relays: tuple[tuple[str, ...], ...] = ()
        self.entered = 0
        self.revision = 0

    def order(
        self,
        exposure: Exposure,
        listed: tuple[ExposedPort, ...] = (),
        forwards: tuple[PortForward, ...] = (),
    ) -> None:
        self.revision += 1
        orders = Orders(
            revision=str(self.revision),
            version="1",
            netns="" if self.relays else "/proc/self/ns/net",
            relays=self.relays,
            relay_socket=str(self.directory / "relay") if self.relays else "",
            nodes=("127.77.0.9",),  # where nobody listens
            clusters=str(self.directory.parent),
            exposure=exposure,
            listed=listed,
            forwards=forwards,
        )
        self.orders_file.write_text(json.dumps(orders.document()))

    @contextlib.contextmanager
    def _outside(self) -> Iterator[None]:
        self.entered += 1
        yield

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[Keeper]:
        keeper = Keeper(self.orders_file, self.report_file, self._outside, DirectDialer())
        task = asyncio.create_task(keeper.run())
        try:
            async with asyncio.timeout(30):
                yield keeper
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            keeper.close()

    def places(self) -> dict[str, str]:
        """Return where things are, by name and port."""
        ports = read_report(self.report_file).exposed.ports
        return {f"{one.name}:{one.target.port}": one.place for one in ports}

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def web(name: str, port: int, **more: object) -> dict[str, object]:
    return service(name, {"port": port, "nodePort": port}, **more)  # type: ignore[arg-type]  # of the fields


def test_services_and_pods_have_ports_as_long_as_they_are_there(
    files: tuple[str, str], cluster: Cluster
) -> None:
    async def work() -> None:
        api, (first, second, third) = FakeApi(files), free(3)
        async with api.served():
            api.put("services", web("a", first))
            cluster.order(Exposure(access=api.access))
            async with cluster.kept():
                await cluster.until(
                    lambda: cluster.places() == {f"a.default:{first}": f"127.0.0.1:{first}"}
                )
                api.put("services", web("b", second, kind="NodePort"))
                api.put("pods", pod("c", {"hostPort": third}))
                await cluster.until(lambda: len(cluster.places()) == 3)
                assert cluster.places()[f"c.default:{third}"] == f"127.0.0.1:{third}"
                api.delete("services", "default/a")
                api.delete("pods", "default/c")
                await cluster.until(
                    lambda: cluster.places() == {f"b.default:{second}": f"127.0.0.1:{second}"}
                )

    asyncio.run(work())


def test_two_hundred_at_once_and_none_afterwards(files: tuple[str, str], cluster: Cluster) -> None:
    async def work() -> None:
        api = FakeApi(files)
        async with api.served():
            cluster.order(Exposure(access=api.access))
            async with cluster.kept():
                await cluster.until(lambda: api.watched == 2)
                for number in range(200):
                    api.put("services", web(f"s{number}", 1))
                await cluster.until(lambda: len(cluster.places()) == 200)
                assert len(set(cluster.places().values())) == 200
                for number in range(200):
                    api.delete("services", f"default/s{number}")
                await cluster.until(lambda: not cluster.places())

    asyncio.run(work())


def test_one_that_changes_its_port_for_ever_holds_one(
    files: tuple[str, str], cluster: Cluster
) -> None:
    """As many sockets as in the beginning, and nothing that is remembered."""

    async def work() -> None:
        api, ports = FakeApi(files), free(2)
        async with api.served():
            api.put("services", web("a", ports[0]))
            cluster.order(Exposure(access=api.access))
            async with cluster.kept():
                await cluster.until(lambda: len(cluster.places()) == 1 and api.watched == 2)
                before = descriptors()
                for number in range(24):
                    port = ports[number % 2]
                    api.put("services", web("a", port))
                    await cluster.until(
                        lambda port=port: (
                            cluster.places()  # type: ignore[misc]  # of a lambda
                            == {f"a.default:{port}": f"127.0.0.1:{port}"}
                        )
                    )
                assert descriptors() == before
                assert not read_report(cluster.report_file).places

    asyncio.run(work())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_new_process_has_the_same_ports_before_the_api_answers(
    files: tuple[str, str], cluster: Cluster
) -> None:
    async def work() -> None:
        api, (port,) = FakeApi(files), free()
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = other.getsockname()[1]
            async with api.served():
                api.put("services", web("a", port))
                api.put("services", web("b", taken))
                cluster.order(Exposure(access=api.access))
                async with cluster.kept():
                    await cluster.until(lambda: len(cluster.places()) == 2)
                    before = cluster.places()
        cluster.report_file.with_name("kept").write_text(cluster.report_file.read_text())
        async with cluster.kept():
            await cluster.until(lambda: read_report(cluster.report_file).exposed.problem != "")
            told = read_report(cluster.report_file).exposed
            assert not told.complete
            assert cluster.places() == before
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()

    asyncio.run(work())


def test_new_orders_are_taken_while_it_works(files: tuple[str, str], cluster: Cluster) -> None:
    async def work() -> None:
        api, (fixed, listed, asked) = FakeApi(files), free(3)
        cluster.order(Exposure(fixed=(FixedPort(host_port=fixed, node_port=1),)))
        async with api.served(), cluster.kept() as keeper:
            await cluster.until(lambda: cluster.places() == {"node:1": f"127.0.0.1:{fixed}"})
            api.put("services", service("a", {"port": 80}, kind="ClusterIP", clusterIP="10.0.0.1"))
            wish = AskedService(namespace="default", service="a", port=80, host_port=asked)
            lost = replace(wish, service="gone")
            cluster.order(
                Exposure(access=api.access, asked=(wish, lost)), (ExposedPort("10.0.0.2", listed),)
            )
            keeper.reload()
            await cluster.until(lambda: len(cluster.places()) == 2)
            assert cluster.places() == {
                "a.default:80": f"127.0.0.1:{asked}",
                f"10.0.0.2:{listed}": f"127.0.0.1:{listed}",
            }
            assert read_report(cluster.report_file).revision == "2"

    asyncio.run(work())


def test_two_clusters_that_want_the_same_port_have_different_ones(
    files: tuple[str, str], cluster: Cluster, tmp_path: Path
) -> None:
    """The first keeps its own while it is stopped."""

    async def work() -> None:
        other, (port,) = Cluster(tmp_path, "other"), free()
        wanted = (ExposedPort("10.0.0.1", port),)
        for one in (cluster, other):
            one.order(Exposure(), wanted)
        async with cluster.kept():
            await cluster.until(lambda: len(cluster.places()) == 1)
        async with other.kept():
            await cluster.until(lambda: len(other.places()) == 1)
            (told,) = read_report(other.report_file).exposed.ports
            assert told.place not in ("", f"127.0.0.1:{port}")
            assert told.note == f"port {port} is another cluster's"
            async with cluster.kept():
                await cluster.until(lambda: cluster.places() != {})
                assert set(cluster.places().values()) == {f"127.0.0.1:{port}"}

    asyncio.run(work())


def test_ports_are_held_also_while_no_report_can_be_written(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is written as soon as it can be."""
    monkeypatch.setattr(keeper_module, "AGAIN_SECONDS", 0.01)

    async def work() -> None:
        (port,) = free()
        cluster.order(Exposure(fixed=(FixedPort(host_port=port, node_port=1),)))
        cluster.report_file.mkdir()
        async with cluster.kept():
            with contextlib.suppress(OSError):
                while True:  # until somebody listens there
                    with socket.socket() as probe:
                        probe.bind(("127.0.0.1", port))
                    await asyncio.sleep(0)
            cluster.report_file.rmdir()
            await cluster.until(lambda: cluster.places() == {"node:1": f"127.0.0.1:{port}"})

    asyncio.run(work())


@pytest.mark.parametrize("status", [401, 500])
def test_why_the_services_are_not_known_is_told(
    files: tuple[str, str], cluster: Cluster, status: int
) -> None:
    async def work() -> None:
        api = FakeApi(files)
        api.status = status
        async with api.served():
            cluster.order(Exposure(access=api.access))
            async with cluster.kept():
                await cluster.until(lambda: read_report(cluster.report_file).exposed.problem != "")
                told = read_report(cluster.report_file).exposed
                assert (told.refused, told.complete) == (status == 401, False)

    asyncio.run(work())


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"exposed": 1}', '{"version": "0"}'])
def test_a_report_of_another_version_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    assert read_report(path).revision == ""
    path.write_text(text)
    assert read_report(path).revision == ""
