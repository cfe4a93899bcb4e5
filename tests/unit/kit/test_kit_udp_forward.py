"""Datagrams are led on, and answers find the client that asked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit.udp_forward import UdpForward

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ohmykube.kit.dialer import Target

pytestmark = pytest.mark.linux


def bound() -> socket.socket:
    made = socket.socket(type=socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(0)
    return made


def nobody() -> Target:
    """Return a place where nobody listens."""
    with bound() as probe:
        return "127.0.0.1", probe.getsockname()[1]


class Echo(asyncio.DatagramProtocol):
    """Sends back what comes, behind its own name."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.clients: set[object] = set()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # it is one
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.clients.add(addr)
        self.transport.sendto(self.name + data, addr)


@contextlib.asynccontextmanager
async def echoing(name: bytes = b"", at: str = "127.0.0.1") -> AsyncIterator[tuple[Echo, Target]]:
    loop = asyncio.get_running_loop()
    transport, echo = await loop.create_datagram_endpoint(lambda: Echo(name), local_addr=(at, 0))
    try:
        yield echo, transport.get_extra_info("sockname")[:2]
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def forwarded(*targets: Target, **limits: float) -> AsyncIterator[tuple[UdpForward, Target]]:
    listener = bound()
    forward = UdpForward(listener, targets, **limits)  # type: ignore[arg-type]  # ints and floats
    place = listener.getsockname()
    await forward.start()
    try:
        yield forward, place
    finally:
        forward.close()


async def asked(own: socket.socket, place: Target, data: bytes) -> bytes:
    """Ask until there is an answer, as whoever uses datagrams does."""
    loop = asyncio.get_running_loop()
    while True:
        await loop.sock_sendto(own, data, place)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                return await loop.sock_recv(own, 65536)


@pytest.mark.parametrize("size", [0, 1, 60_000])
def test_a_datagram_is_answered_as_a_whole(size: int) -> None:
    async def work() -> bytes:
        async with echoing() as (_, target), forwarded(target) as (_, place):
            with bound() as client:
                return await asked(client, place, b"x" * size)

    assert asyncio.run(work()) == b"x" * size


def test_each_client_gets_its_own_answers() -> None:
    async def work() -> list[bytes]:
        async with echoing() as (echo, target), forwarded(target) as (_, place):
            with contextlib.ExitStack() as open_ones:
                clients = [open_ones.enter_context(bound()) for _ in range(20)]
                every = range(len(clients))
                told = await asyncio.gather(*(asked(clients[n], place, b"%d" % n) for n in every))
                assert len(echo.clients) == len(clients)
                return list(told)

    assert asyncio.run(work()) == [b"%d" % n for n in range(20)]


def test_the_next_target_gets_what_one_refuses() -> None:
    """Nothing is lost by that."""

    async def work() -> list[bytes]:
        async with echoing() as (_, target), forwarded(nobody(), nobody(), target) as (_, place):
            with bound() as client, bound() as other:
                return [await asked(client, place, b"a"), await asked(other, place, b"b")]

    assert asyncio.run(work()) == [b"a", b"b"]


@pytest.mark.parametrize("at", ["127.0.0.1", "::1"])
def test_targets_of_both_families_are_tried_in_turn(at: str) -> None:
    async def work() -> list[bytes]:
        async with echoing(at=at) as (_, (_, port)):
            targets = ("127.0.0.1", port), ("::1", port)
            async with forwarded(*targets) as (_, place):
                with bound() as client:
                    return [await asked(client, place, b"a"), await asked(client, place, b"b")]

    assert asyncio.run(work()) == [b"a", b"b"]


def test_where_all_refuse_later_ones_are_tried_again() -> None:
    async def work() -> bytes:
        loop = asyncio.get_running_loop()
        gone = nobody()
        async with forwarded(gone) as (_, place):
            with bound() as client:
                for _ in range(3):
                    await loop.sock_sendto(client, b"x", place)
                    await asyncio.sleep(0)
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: Echo(b"back:"), local_addr=gone
                )
                answer = await asked(client, place, b"y")
                transport.close()
                return answer

    assert asyncio.run(work()).startswith(b"back:")


def test_clients_are_led_elsewhere_at_once() -> None:
    async def work() -> list[bytes]:
        async with (
            echoing(b"1") as (_, first),
            echoing(b"2") as (_, second),
            forwarded(first) as (forward, place),
        ):
            with bound() as client:
                before = await asked(client, place, b"")
                forward.lead_to([second])
                return [before, await asked(client, place, b"")]

    assert asyncio.run(work()) == [b"1", b"2"]


def test_silent_clients_are_forgotten() -> None:
    """All are once they are idle, and the oldest where there are too many; so no socket is left."""

    async def work() -> list[int]:
        async with echoing() as (echo, target), forwarded(target, most=2) as (forward, place):
            with bound() as one, bound() as two, bound() as three:
                for client in (one, two, three, one):
                    await asked(client, place, b"x")
                counts = [forward.clients, len(echo.clients)]
        async with echoing() as (_, target), forwarded(target, idle=0.1) as (forward, place):
            with bound() as client:
                await asked(client, place, b"x")
                while forward.clients:
                    await asyncio.sleep(0)
                return [*counts, forward.clients]

    assert asyncio.run(asyncio.wait_for(work(), 30)) == [2, 4, 0]
