"""Connections through another host say what straight ones say: who answers, who does not, the end.

The server that would run there runs here; ssh is tried with real nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import shlex
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit import relay_server
from ohmykube.kit.dialer import family_of
from ohmykube.kit.relay import Relay, ssh_command
from ohmykube.kit.tcp_forward import TcpForward
from ohmykube.kit.udp_forward import UdpForward

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ohmykube.kit.dialer import Target

pytestmark = pytest.mark.linux
SOURCE = inspect.getsource(relay_server)


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="omk") as found:
        yield Path(found)


def command(path: Path) -> tuple[str, ...]:
    return (sys.executable, "-c", SOURCE, str(path))


@contextlib.asynccontextmanager
async def served_here(place: Path) -> AsyncIterator[tuple[str, ...]]:
    """Give the command that leads to a server in this process, as ssh leads to one elsewhere."""
    far, near = place / "far", place / "s"
    lead = f"ln -s {far} {near}; echo {relay_server.READY}; exec cat >/dev/null"
    async with await asyncio.start_unix_server(relay_server._serve, far):
        yield ("sh", "-c", lead)
    while len(asyncio.all_tasks()) > 1:  # connections end when their clients are gone
        await asyncio.sleep(0.01)
    await asyncio.sleep(0)  # what they have closed is closed in the loop's next turn


@contextlib.asynccontextmanager
async def relayed(place: Path, *commands: tuple[str, ...]) -> AsyncIterator[Relay]:
    if not commands:
        async with served_here(place) as command, relayed(place, command) as relay:
            yield relay
            return
    path = place / "s"
    relay = Relay(path, place / "log")
    relay.use(commands)
    running = asyncio.create_task(relay.run())
    try:
        async with asyncio.timeout(60):
            yield relay
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer when all has come, which needs an end for one direction alone."""
    writer.write((await reader.read()).upper())
    writer.close()


@contextlib.asynccontextmanager
async def shouting(address: str = "127.0.0.1") -> AsyncIterator[Target]:
    async with await asyncio.start_server(shout, address, 0) as server:
        yield server.sockets[0].getsockname()[:2]


def nobody(address: str = "127.0.0.1") -> Target:
    with socket.create_server((address, 0), family=family_of((address, 0))) as probe:
        return address, probe.getsockname()[1]


async def asked(port: int, said: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
def test_all_bytes_and_the_end_of_each_direction_pass(place: Path, size: int) -> None:
    async def work() -> None:
        async with relayed(place) as relay, shouting() as target:
            listener = socket.create_server(("127.0.0.1", 0))
            listener.settimeout(0)
            forward = TcpForward(listener, [nobody(), target], relay)
            await forward.start()
            said = b"a" * size
            assert await asked(listener.getsockname()[1], said) == said.upper()
            forward.close()

    asyncio.run(work())


def test_a_target_that_does_not_answer_is_refused_as_by_the_kernel(place: Path) -> None:
    """Of both IP families, and what is no address."""

    async def work() -> None:
        async with relayed(place) as relay:
            for target in (nobody(), nobody("::1"), ("not-an-address", 0)):
                with pytest.raises(ConnectionRefusedError):
                    await relay.connect(target)
            for address in ("127.0.0.1", "::1"):
                async with shouting(address) as target:
                    (await relay.connect(target)).close()

    asyncio.run(work())


def test_datagrams_go_to_the_first_target_that_listens(place: Path) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        got: asyncio.Queue[bytes] = asyncio.Queue()

        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # it is one
                self.transport = transport

            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                self.transport.sendto(data.upper(), addr)

        class Client(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _addr: object) -> None:
                got.put_nowait(data)

        far, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            silent = probe.getsockname()[:2]
        listener = socket.socket(type=socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0)
        async with relayed(place) as relay:
            forward = UdpForward(listener, [silent, far.get_extra_info("sockname")[:2]], relay)
            await forward.start()
            near, _ = await loop.create_datagram_endpoint(
                Client, remote_addr=listener.getsockname()
            )
            for said in (b"one", b"", b"x" * 9000):
                near.sendto(said)
                assert await got.get() == said.upper()
            assert forward.clients == 1
            near.close()
            forward.close()
        far.close()

    asyncio.run(work())


def test_a_way_that_has_just_ended_is_as_a_target_that_does_not_answer(place: Path) -> None:
    """Until ssh is seen to have ended, its socket is there no more, or nobody is behind it."""

    async def work() -> None:
        async with relayed(place) as relay, shouting() as target:
            (await relay.connect(target)).close()
            (place / "s").unlink()
            with pytest.raises(OSError, match="No such file"):
                await relay.connect(target)
            refused = asyncio.Event()
            way = relay.datagrams(target, lambda _data: None, refused.set)
            way.send(b"lost")
            await refused.wait()

    asyncio.run(work())


def test_when_one_host_is_lost_the_next_one_is_used(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that never answers is left out, and so is one that is not among them any more."""
    monkeypatch.setattr("ohmykube.kit.relay.AGAIN_SECONDS", 0.01)

    async def work() -> None:
        first = command(place / "s")
        lost = ("sh", "-c", "echo no route to host >&2; exit 255")
        async with relayed(place, lost, first) as relay, shouting() as target:
            (await relay.connect(target)).close()
            relay.use([("/usr/bin/env", *command(place / "s"))])
            while (made := await connected(relay, target)) is None:
                await asyncio.sleep(0.01)
            made.close()
            relay.use([])
            while (made := await connected(relay, target)) is not None:
                made.close()
                await asyncio.sleep(0.01)

    asyncio.run(work())


async def connected(relay: Relay, target: Target) -> socket.socket | None:
    try:
        async with asyncio.timeout(0.5):
            return await relay.connect(target)
    except OSError:
        return None


def test_it_leaves_nothing_behind(place: Path) -> None:
    """No process; and other users, whose directory it is too, cannot connect meanwhile."""

    async def work() -> None:
        async with relayed(place, command(place / "s")) as relay, shouting() as target:
            (await relay.connect(target)).close()
            assert (place / "s").stat().st_mode & 0o077 == 0
        found = [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(place) in _text(p)]
        assert found == []

    asyncio.run(work())


def test_one_that_ends_late_leaves_the_socket_of_the_next_one_alone(place: Path) -> None:
    """A process whose end is not waited for still cleans up after itself."""

    async def work() -> None:
        path = place / "s"
        first = await process_at(path)
        path.unlink()
        second = await process_at(path)
        for one, there in ((first, True), (second, False)):
            await one.communicate()
            assert path.exists() is there

    asyncio.run(work())


async def process_at(path: Path) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    made = await asyncio.create_subprocess_exec(*command(path), stdin=pipe, stdout=pipe)
    assert made.stdout is not None
    assert (await made.stdout.readline()).decode().strip() == relay_server.READY
    return made


def test_a_connection_that_breaks_off_is_no_refusal(place: Path) -> None:
    """Not a byte comes that the target did not send."""

    async def work() -> None:
        async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"half")
            await reader.readline()
            own = writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            writer.close()

        async with (
            relayed(place) as relay,
            await asyncio.start_server(broken, "127.0.0.1", 0) as server,
        ):
            found = await relay.connect(server.sockets[0].getsockname()[:2])
            reader, writer = await asyncio.open_connection(sock=found)
            assert await reader.readexactly(4) == b"half"
            writer.write(b"go\n")
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()

    asyncio.run(work())


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def test_the_program_reaches_the_host_as_one_word_of_its_shell(place: Path) -> None:
    argv = ssh_command(place / "config", "cp1", place / "s")
    assert argv[-2] == "cp1"
    words = shlex.split(argv[-1])
    assert words[:3] == ["exec", "python3", "-c"]
    assert words[3] == SOURCE
    assert f"{place / 's'}:{words[4]}" in argv
    assert ssh_command(place / "config", "cp1", place / "s") != argv, "nobody can guess the place"
