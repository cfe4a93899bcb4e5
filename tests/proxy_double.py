"""A proxy that wants a name and a password, in one network namespace or in this one."""

from __future__ import annotations

import base64
import contextlib
import http.server
import select
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ProxyDouble(http.server.ThreadingHTTPServer):
    """Leads to wherever ``connect`` does; ``seen`` has what it was asked for, and the answer."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        address: str,
        login: tuple[str, str] | None,
        connect: Callable[[tuple[str, int]], socket.socket] = socket.create_connection,
    ) -> None:
        super().__init__((address, 0), _Handler)
        self.connect = connect
        self.wanted = None
        if login is not None:
            self.wanted = f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"
        self.seen: list[tuple[str, str, int]] = []

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ProxyDouble

    def log_message(self, *_arguments: object) -> None:
        """Keep quiet."""

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        if not self._allowed():
            return
        try:
            other = self.server.connect((host, int(port)))
        except OSError:
            self._answer(502)
            return
        self.send_response(200)
        self.end_headers()
        with other:
            _join(self.connection, other)
        self.close_connection = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if not self._allowed():
            return
        self.close_connection = True
        try:
            other = self.server.connect((parts.hostname or "", parts.port or 80))
        except OSError:
            self._answer(502)
            return
        with other:
            head = f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n"
            other.sendall(head.encode())
            _join(self.connection, other)

    def _allowed(self) -> bool:
        given = self.headers.get("Proxy-Authorization")
        allowed = self.server.wanted in (None, given)
        self.server.seen.append((self.command, self.path, 200 if allowed else 407))
        if not allowed:
            self._answer(407, ("Proxy-Authenticate", 'Basic realm="double"'))
        return allowed

    def _answer(self, status: int, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", "0")):
            self.send_header(name, value)
        self.end_headers()


def _join(one: socket.socket, other: socket.socket) -> None:
    """Hand on what comes until one side ends."""
    while True:
        ready, _, _ = select.select([one, other], [], [], 60)
        for source in ready:
            data = source.recv(1 << 16)
            if not data:
                return
            (other if source is one else one).sendall(data)
        if not ready:
            return


@contextlib.contextmanager
def serving(proxy: ProxyDouble) -> Iterator[ProxyDouble]:
    """Serve until the end of the context."""
    thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
