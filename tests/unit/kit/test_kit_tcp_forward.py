"""Connections are led on whole, both ways, to whichever target answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit.tcp_forward import TcpForward

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ohmykube.kit.dialer import Target

pytestmark = pytest.mark.linux
LARGE = os.urandom(5_000_000)


def free_socket() -> socket.socket:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.settimeout(0)
    return made


def nobody() -> Target:
    """Return a place where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", probe.getsockname()[1]


async def served(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    at: str = "127.0.0.1",
) -> tuple[asyncio.Server, Target]:
    server = await asyncio.start_server(handler, at, 0)
    return server, server.sockets[0].getsockname()[:2]


@contextlib.asynccontextmanager
async def forwarded(*targets: Target) -> AsyncIterator[tuple[TcpForward, Target]]:
    listener = free_socket()
    forward = TcpForward(listener, targets)
    await forward.start()
    try:
        yield forward, listener.getsockname()
    finally:
        forward.close()


async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send all back, and only then end."""
    writer.write(await reader.read())
    writer.write_eof()
    await writer.drain()
    writer.close()


async def asked(place: Target, data: bytes) -> bytes:
    """Send all, say that no more comes, and return all that comes back."""
    reader, writer = await asyncio.open_connection(*place)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("data", [b"", b"x", LARGE])
def test_all_arrives_also_after_one_side_has_ended(data: bytes) -> None:
    """A client that has said its last word still gets the whole answer."""

    async def work() -> bytes:
        server, target = await served(back)
        async with server, forwarded(target) as (_, place), asyncio.timeout(30):
            return await asked(place, data)

    assert asyncio.run(work()) == data


def test_many_at_once_do_not_mix() -> None:
    async def work() -> list[bytes]:
        server, target = await served(back)
        async with server, forwarded(target) as (_, place), asyncio.timeout(30):
            return await asyncio.gather(*(asked(place, b"%d" % n * 1000) for n in range(50)))

    assert asyncio.run(work()) == [b"%d" % n * 1000 for n in range(50)]


def test_the_first_target_that_answers_is_taken_and_remembered() -> None:
    async def work() -> list[bytes]:
        server, target = await served(back)
        async with server, forwarded(nobody(), target) as (_, place), asyncio.timeout(30):
            return [await asked(place, b"a"), await asked(place, b"b")]

    assert asyncio.run(work()) == [b"a", b"b"]


def test_targets_of_both_families_are_tried_in_turn() -> None:
    """A port of the nodes answers in the family of its service alone."""

    async def work(at: str) -> list[bytes]:
        server, (_, port) = await served(back, at)
        targets = ("127.0.0.1", port), ("::1", port)
        async with server, forwarded(*targets) as (_, place), asyncio.timeout(30):
            return [await asked(place, b"a"), await asked(place, b"b")]

    for at in ("127.0.0.1", "::1"):
        assert asyncio.run(work(at)) == [b"a", b"b"], at


@pytest.mark.parametrize("targets", [(), (nobody(),), (nobody(), nobody())])
def test_where_nobody_answers_the_client_is_reset(targets: tuple[Target, ...]) -> None:
    async def work() -> bytes:
        async with forwarded(*targets) as (_, place), asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(*place)
            try:
                return await reader.read()
            finally:
                writer.close()

    with pytest.raises(ConnectionResetError):
        asyncio.run(work())


def test_a_target_is_changed_for_connections_to_come() -> None:
    async def named(name: bytes) -> tuple[asyncio.Server, Target]:
        async def tell(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(name)
            writer.close()

        return await served(tell)

    async def work() -> list[bytes]:
        (first, at_first), (second, at_second) = await named(b"1"), await named(b"2")
        async with first, second, forwarded(at_first) as (forward, place), asyncio.timeout(30):
            before = await asked(place, b"")
            forward.lead_to([at_second])
            return [before, await asked(place, b"")]

    assert asyncio.run(work()) == [b"1", b"2"]


def test_closed_it_takes_no_more_and_lets_others_end() -> None:
    async def work() -> bytes:
        server, target = await served(back)
        async with server, forwarded(target) as (forward, place), asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(b"first")
            await writer.drain()
            while not forward.linked:
                await asyncio.sleep(0)
            forward.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*place)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(work()) == b"first"


@pytest.mark.parametrize("client_ends", [True, False])
def test_a_reset_of_one_end_is_one_of_the_other(client_ends: bool) -> None:
    async def work() -> bytes:
        ended = asyncio.get_running_loop().create_future()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            if not client_ends:
                reset(writer)
                return
            try:
                ended.set_result(await reader.read())
            except OSError as error:
                ended.set_exception(error)
            writer.close()

        server, target = await served(handle)
        async with server, forwarded(target) as (_, place), asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(b"x")
            await writer.drain()
            if client_ends:
                reset(writer)
                return await ended  # type: ignore[no-any-return]  # a future of bytes
            try:
                return await reader.read()
            finally:
                writer.close()

    def reset(writer: asyncio.StreamWriter) -> None:
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    with pytest.raises(ConnectionResetError):
        asyncio.run(work())


def test_a_slow_reader_slows_its_sender() -> None:
    """What waits for it is bounded, however much is sent."""

    async def work() -> tuple[int, bytes]:
        may_read = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await may_read.wait()
            writer.write(b"%d" % len(await reader.read()))
            writer.close()

        server, target = await served(slow)
        async with server, forwarded(target) as (_, place), asyncio.timeout(60):
            loop, own, sent = asyncio.get_running_loop(), socket.socket(), 0
            own.settimeout(0)
            await loop.sock_connect(own, place)
            with contextlib.suppress(TimeoutError):
                while True:  # until nothing is taken any more
                    async with asyncio.timeout(0.5):
                        await loop.sock_sendall(own, LARGE[:65536])
                    sent += 65536
            may_read.set()
            own.shutdown(socket.SHUT_WR)
            answer = await loop.sock_recv(own, 100)
            own.close()
            return sent, answer

    sent, answer = asyncio.run(work())
    assert sent <= int(answer) <= sent + 65536
    assert sent < 64 << 20
