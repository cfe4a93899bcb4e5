"""Connects to addresses of the network that it runs in, for another host: ``python3 -c … SOCKET``.

It is sent as text and runs alone, with the Python of a node (3.9 or newer). Each connection at the
Unix socket begins with a line, ``tcp ADDRESS PORT`` or ``udp ADDRESS PORT``. One byte is the
answer, ``+`` when it is connected and ``-`` where it cannot be. From then on bytes go both ways;
with ``udp`` datagrams, each after its length in two bytes. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine

READY = "relay-ready"
"""The line that is printed when it takes connections."""
CONNECTED, REFUSED = b"+", b"-"
LENGTH = struct.Struct("!H")
_CONNECT_SECONDS = 10
_CHUNK = 1 << 16
_MOST_WAITING = 1 << 20
"""Bytes that may wait for a slow reader before datagrams are lost."""


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on all that comes, and its end."""
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _open_stream(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, port: int
) -> Coroutine[None, None, None]:
    """Connect; return what is to be done then."""
    opening = asyncio.open_connection(address, port)
    far_reader, far_writer = await asyncio.wait_for(opening, _CONNECT_SECONDS)

    async def transfer() -> None:
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            far_writer.close()

    return transfer()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def datagram_received(self, data: bytes, _address: object) -> None:
        if self._writer.transport.get_write_buffer_size() < _MOST_WAITING:
            self._writer.write(LENGTH.pack(len(data)) + data)

    def error_received(self, _error: Exception) -> None:
        self._writer.transport.abort()  # nothing listens there


async def _open_datagrams(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, port: int
) -> Coroutine[None, None, None]:
    """Open a socket; return what is to be done then."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(writer), remote_addr=(address, port)
    )

    async def transfer() -> None:
        try:
            while True:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                transport.sendto(await reader.readexactly(length))
        finally:
            transport.close()

    return transfer()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        kind, address, port = (await reader.readline()).decode().split()
        opened = _open_datagrams if kind == "udp" else _open_stream
        transfer = await opened(reader, writer, address, int(port))
    # Before Python 3.11 asyncio's TimeoutError is another one, and no OSError.
    except (OSError, ValueError, OverflowError, asyncio.TimeoutError):  # noqa: UP041
        writer.write(REFUSED)
        writer.close()
        return
    writer.write(CONNECTED)
    try:
        await transfer
        writer.close()
    except (OSError, EOFError):  # either end went away
        writer.transport.abort()


def _end_with_input(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), _CHUNK):
        ended.set()


async def _work(path: str) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    os.umask(0o077)  # the socket is its user's alone
    # From 3.13 on asyncio would remove the file by its inode, whose number may be another's by now.
    kept = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
    server = await asyncio.start_unix_server(_serve, path, **kept)
    own = _made(path)
    try:
        loop.add_reader(sys.stdin.fileno(), _end_with_input, ended)
        print(READY, flush=True)  # noqa: T201 - it is a program of its own
        await ended.wait()
    finally:
        server.close()
        with contextlib.suppress(OSError):
            # A following one may have its own at this place by now.
            if _made(path) == own:
                os.unlink(path)  # noqa: PTH108 - starts faster without pathlib


def _made(path: str) -> tuple[int, int]:
    """Return what tells a file from a later one at its place, whose inode may be the same."""
    found = os.stat(path)  # noqa: PTH116 - as above
    return found.st_ino, found.st_ctime_ns


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
