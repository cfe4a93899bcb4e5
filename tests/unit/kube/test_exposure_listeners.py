"""Each request has a port of this host: its own, else another, and the same one again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit.dialer import DirectDialer
from ohmykube.kube.exposure.listeners import MOST_REMEMBERED, Listeners
from ohmykube.model.exposure import ANY_NODE, OWN_PORTS, ExposedPort, Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ohmykube.model.exposure import PublishedPort

pytestmark = pytest.mark.linux
HOST = "127.77.0.1"
"""An address of the loopback that no other test uses."""
PROTOCOLS = ("tcp", "udp")


def request(
    key: str, port: int, protocol: str = "tcp", *, fixed: bool = False, address: str = HOST
) -> Request:
    return Request(
        key=key,
        name=key,
        target=ExposedPort("127.0.0.1", 9, protocol),
        place_port=port,
        place_address=address,
        fixed=fixed,
    )


@contextlib.contextmanager
def taken(port: int = 0, protocol: str = "tcp") -> Iterator[int]:
    """Let another program listen on a port of the address."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(type=kind) as other:
        other.bind((HOST, port))
        if protocol == "tcp":
            other.listen()
        yield other.getsockname()[1]


def free(protocol: str = "tcp") -> int:
    with taken(0, protocol) as port:
        return port


class Held:
    """Listeners, and what they did last."""

    def __init__(
        self, remembered: Mapping[str, str] | None = None, promised: set[str] | None = None
    ) -> None:
        self.entered = 0
        self.listeners = Listeners(
            remembered or {}, lambda: promised or set(), self._outside, DirectDialer()
        )

    @contextlib.contextmanager
    def _outside(self) -> Iterator[None]:
        self.entered += 1
        yield

    async def has(self, *requests: Request, nodes: Sequence[str] = ()) -> dict[str, PublishedPort]:
        told = await self.listeners.bring_about(requests, nodes)
        return {one.name: one for one in told.values()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_has_its_own_port_where_it_is_free(protocol: str) -> None:
    async def work() -> None:
        held, port = Held(), free(protocol)
        told = await held.has(request("a", port, protocol))
        assert (told["a"].place, told["a"].note) == (f"{HOST}:{port}", "")
        assert held.entered == 1  # in the network of the host
        with pytest.raises(OSError, match="in use"), taken(port, protocol):
            pass
        assert await held.has() == {}
        with taken(port, protocol):
            pass
        held.listeners.close()

    asyncio.run(work())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_where_it_is_taken_it_has_another_one_for_good(protocol: str) -> None:
    """Also after it was withdrawn, after a restart, and when its own is free again."""

    async def work() -> None:
        held = Held()
        with taken(0, protocol) as port:
            told = await held.has(request("a", port, protocol))
            place = told["a"].place
            assert int(place.rpartition(":")[2]) in OWN_PORTS
            assert told["a"].note == f"port {port} is taken"
        assert await held.has() == {}
        assert (await held.has(request("a", port, protocol)))["a"].place == place
        held.listeners.close()
        again = Held(held.listeners.places)
        assert (await again.has(request("a", port, protocol)))["a"].place == place
        again.listeners.close()

    asyncio.run(work())


def test_two_that_want_the_same_port_have_different_ones() -> None:
    async def work() -> None:
        held, port = Held(), free()
        wanted = [request(key, port) for key in ("a", "b", "c")]
        told = await held.has(*wanted)
        places = [told[key].place for key in ("a", "b", "c")]
        assert len(set(places)) == 3
        assert places[0] == f"{HOST}:{port}"
        assert [told[key].note for key in ("a", "b", "c")] == ["", *[f"port {port} is taken"] * 2]
        assert await held.has(*reversed(wanted)) == told
        held.listeners.close()

    asyncio.run(work())


def test_one_of_tcp_and_one_of_udp_share_a_number() -> None:
    async def work() -> None:
        held, port = Held(), free()
        told = await held.has(request("a", port), request("b", port, "udp"))
        assert {one.place for one in told.values()} == {f"{HOST}:{port}"}
        held.listeners.close()

    asyncio.run(work())


def test_a_place_of_another_cluster_is_left_to_it() -> None:
    """Also while that one is stopped, and nobody listens there."""

    async def work() -> None:
        port = free()
        held = Held(promised={f"tcp/{HOST}:{port}"})
        told = await held.has(request("a", port))
        assert told["a"].place not in ("", f"{HOST}:{port}")
        assert told["a"].note == f"port {port} is another cluster's"
        held.listeners.close()

    asyncio.run(work())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_fixed_one_is_there_or_nowhere(protocol: str) -> None:
    async def work() -> None:
        held = Held()
        with taken(0, protocol) as port:
            wanted = request("a", port, protocol, fixed=True)
            told = await held.has(wanted)
            assert (told["a"].place, told["a"].note) == ("", f"port {port} is taken")
        assert (await held.has(wanted))["a"].place == f"{HOST}:{port}"
        held.listeners.close()

    asyncio.run(work())


def test_a_fixed_one_moves_another_of_ours_away() -> None:
    async def work() -> None:
        held, port = Held(), free()
        assert (await held.has(request("a", port)))["a"].place == f"{HOST}:{port}"
        told = await held.has(request("a", port), request("b", port, fixed=True))
        assert told["b"].place == f"{HOST}:{port}"
        assert int(told["a"].place.rpartition(":")[2]) in OWN_PORTS
        held.listeners.close()

    asyncio.run(work())


def test_an_address_that_the_host_does_not_have_is_told() -> None:
    async def work() -> None:
        held = Held()
        for fixed in (True, False):
            told = await held.has(request("a", 8080, fixed=fixed, address="192.0.2.1"))
            assert told["a"].place == ""
            assert told["a"].note == "port 8080 is at an address that this host does not have"

    asyncio.run(work())


def test_what_is_not_there_any_more_is_remembered_within_bounds() -> None:
    """Things that come and go for ever leave no more than that, and no socket."""

    async def work() -> None:
        held = Held()
        with taken() as port:
            for number in range(MOST_REMEMBERED + 20):
                assert (await held.has(request(f"s{number}", port)))[f"s{number}"].place
            assert await held.has() == {}
        assert len(held.listeners.places) == MOST_REMEMBERED
        assert f"s{MOST_REMEMBERED + 19}" in held.listeners.places

    asyncio.run(work())


def test_any_node_is_the_one_that_answers_of_those_there_are() -> None:
    async def work() -> list[bytes]:
        async def tell(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"here")
            writer.close()

        server = await asyncio.start_server(tell, "127.77.0.3", 0)
        target = ExposedPort(ANY_NODE, server.sockets[0].getsockname()[1])
        held, wanted = Held(), replace(request("a", free()), target=target)
        answers = []
        async with server, asyncio.timeout(30):
            for nodes in (["127.77.0.2", "127.77.0.3"], ["127.77.0.3"]):
                place = (await held.has(wanted, nodes=nodes))["a"].place
                reader, writer = await asyncio.open_connection(HOST, int(place.split(":")[1]))
                answers.append(await reader.read())
                writer.close()
        held.listeners.close()
        return answers

    assert asyncio.run(work()) == [b"here", b"here"]
