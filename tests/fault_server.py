"""A small HTTP server whose answers a test scripts, faults included."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass
class Answer:
    """One response. ``cut``: bytes of the body after which the connection is reset."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True
    etag: str = '"one"'
    length: int | None = None
    cut: int | None = None
    stall: int | None = None
    chunked: bool = False


class FaultServer(ThreadingHTTPServer):
    """Answers ``path`` with the next scripted answer; the last one stays.

    With a certificate, ``tls`` (one file with its key), it speaks HTTPS.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str = "127.0.0.1", tls: Path | None = None) -> None:
        super().__init__((address, 0), _Handler)
        self.tls = tls is not None
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            # The handshake is the business of a connection's thread, not of the one that accepts.
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.refusal: Callable[[str, Mapping[str, str]], Answer | None] = lambda _path, _headers: (
            None
        )
        """Asked first, with the path and the headers; what it returns is the answer."""
        self.called = ""
        """Name by which clients know it; its address when empty."""
        self.answers: dict[str, list[Answer]] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.count: Counter[str] = Counter()
        self.bodies: list[bytes] = []
        self.date = ""
        """The clock of the server; its own when empty."""
        self.done = threading.Event()
        self.guard = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up; that is what is tested."""

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"{'https' if self.tls else 'http'}://{self.called or host!s}:{port}"

    def on(self, path: str, *answers: Answer) -> str:
        self.answers[path] = list(answers)
        return self.url + path

    def headers_of(self, path: str) -> list[dict[str, str]]:
        return [headers for _, seen, headers in self.seen if seen == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultServer

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        self.do_GET()

    def date_time_string(self, timestamp: float | None = None) -> str:
        return self.server.date or super().date_time_string(timestamp)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        headers = {k.title(): v for k, v in self.headers.items()}
        with self.server.guard:
            self.server.seen.append((self.command, path, headers))
            self.server.count[path] += 1
            answer = self.server.refusal(path, headers)
            if answer is None:
                script = self.server.answers.get(path, [Answer(status=404)])
                answer = script.pop(0) if len(script) > 1 else script[0]
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        body, status, headers = answer.body, answer.status, dict(answer.headers)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        current = self.headers.get("If-Range", answer.etag) == answer.etag
        if status == 200 and asked and answer.ranges and current:
            first = int(asked[1])
            status = 206 if first < len(body) else 416
            headers.setdefault("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
            body = body[first:] if status == 206 else b""
        self.send_response(status)
        if answer.etag:
            self.send_header("ETag", answer.etag)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(answer.length or len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if answer.stall is not None:
            self.wfile.write(body[: answer.stall])
            self.server.done.wait(30)
            self.close_connection = True
        elif answer.cut is not None:
            self.wfile.write(body[: answer.cut])
            self._reset()
        else:
            self.wfile.write(body)
            if answer.length:
                self.close_connection = True

    def _reset(self) -> None:
        # Linger 0 makes the close a RST; what was sent before is given time by the reader's window.
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
