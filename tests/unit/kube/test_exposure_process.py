"""The process that holds a cluster's ports, as a provider starts it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit import relay_server
from ohmykube.kube.exposure.keeper import read_report
from ohmykube.model.exposure import ExposedPort, Exposure, FixedPort, PortForward
from tests import unmeasured
from tests.fake_api import FakeApi, certificate
from tests.unit.kube.test_exposure_keeper import Cluster, free, web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to enter a network namespace"),
]
MOST_KIB = 30 << 10
"""Of memory, whatever a cluster offers."""
SERVICES = 200


@dataclass
class Holder:
    """A process and its cluster; the namespace of the cluster is that of the host."""

    cluster: Cluster
    process: asyncio.subprocess.Process

    @property
    def kib(self) -> int:
        """The memory that is the process's now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])


@contextlib.asynccontextmanager
async def started(cluster: Cluster, environment: Mapping[str, str]) -> AsyncIterator[Holder]:
    argv = ["-P", "-m", "ohmykube.kube.exposure"]
    files = [str(cluster.orders_file), str(cluster.report_file)]
    made = await asyncio.create_subprocess_exec(sys.executable, *argv, *files, env=environment)
    try:
        async with asyncio.timeout(60):
            yield Holder(cluster, made)
    finally:
        with contextlib.suppress(ProcessLookupError):
            made.terminate()
        await made.wait()


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[ExposedPort]:
    """Give a server on another address that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(echo, "127.77.0.9", 0) as server:
        address, port = server.sockets[0].getsockname()
        yield ExposedPort(address, port)


async def answers(port: int) -> bool:
    """Tell whether what listens on a port of 127.0.0.1 leads to an echo."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"word\n")
            return await reader.readline() == b"word\n"
        finally:
            writer.close()
            await writer.wait_closed()
    return False


def test_it_leads_to_the_cluster_and_takes_new_orders(tmp_path: Path) -> None:
    """Forwards to servers of nodes are in no list of services; all of it ends with the process."""

    async def work() -> None:
        cluster, (fixed, api) = Cluster(tmp_path), free(2)
        async with echoing() as target:
            wanted = (FixedPort(host_port=fixed, node_port=target.port),)
            cluster.order(Exposure(fixed=wanted))
            async with started(cluster, os.environ) as holder:
                place = f"127.0.0.1:{fixed}"
                await cluster.until(lambda: cluster.places() == {f"node:{target.port}": place})
                assert await answers(fixed)
                assert read_report(cluster.report_file).pid == holder.process.pid
                cluster.order(Exposure(), forwards=(PortForward(host_port=api, target=target),))
                holder.process.send_signal(signal.SIGHUP)
                await cluster.until(lambda: read_report(cluster.report_file).revision == "2")
                report = read_report(cluster.report_file)
                (forward,) = report.forwards
                assert (forward.target, forward.place) == (target, f"127.0.0.1:{api}")
                assert report.exposed.ports == ()
                assert report.held == (f"tcp/127.0.0.1:{api}",)
                assert await answers(api)
                assert not await answers(fixed)
            assert not await answers(api)

    asyncio.run(work())


def test_a_forward_whose_port_is_taken_is_told(tmp_path: Path) -> None:
    """It has no other port: its own is in kubeconfigs."""

    async def work() -> None:
        cluster = Cluster(tmp_path)
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            target = ExposedPort("127.77.0.9", 1)
            cluster.order(Exposure(), forwards=(PortForward(host_port=taken, target=target),))
            async with cluster.kept():
                await cluster.until(lambda: read_report(cluster.report_file).revision == "1")
                (forward,) = read_report(cluster.report_file).forwards
                assert (forward.place, forward.note) == ("", f"port {taken} is taken")

    asyncio.run(work())


def test_services_are_followed_through_a_relay(tmp_path: Path) -> None:
    """All that goes to the cluster goes through it, the API server too; another one takes over."""

    async def work(root: Path) -> None:
        cluster, api = Cluster(root), FakeApi(certificate(tmp_path))
        program = inspect.getsource(relay_server)
        relay = (sys.executable, "-c", program, str(cluster.directory / "relay"))
        cluster.relays = (("false",), relay)
        async with api.served(), echoing() as target:
            cluster.order(Exposure(access=api.access))
            async with started(cluster, unmeasured.environment()) as holder:
                await cluster.until(lambda: api.watched == 2)
                api.put("services", web("s", target.port))
                await cluster.until(lambda: len(cluster.places()) == 1)
                (place,) = cluster.places().values()
                assert await answers(int(place.rpartition(":")[2]))
                api.delete("services", "default/s")
                await cluster.until(lambda: cluster.places() == {})
                assert not await answers(int(place.rpartition(":")[2]))
                assert holder.kib <= MOST_KIB

    with tempfile.TemporaryDirectory(prefix="omk") as root:  # a short path, for a socket
        asyncio.run(work(Path(root)))


def test_its_memory_does_not_depend_on_what_a_cluster_offers(tmp_path: Path) -> None:
    """Two hundred services at once, all of which are led to."""

    async def work() -> None:
        cluster, api = Cluster(tmp_path), FakeApi(certificate(tmp_path))
        async with api.served(), echoing() as target:
            cluster.order(Exposure(access=api.access))
            async with started(cluster, unmeasured.environment()) as holder:
                await cluster.until(lambda: api.watched == 2)
                for number in range(SERVICES):
                    api.put("services", web(f"s{number}", target.port))
                await cluster.until(lambda: len(cluster.places()) == SERVICES)
                places = cluster.places().values()
                ports = {int(place.rpartition(":")[2]) for place in places}
                assert len(ports) == SERVICES
                assert all(await asyncio.gather(*map(answers, ports)))
                assert holder.kib <= MOST_KIB

    asyncio.run(work())
