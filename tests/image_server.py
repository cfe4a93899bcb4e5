"""A server of machine images on the loopback, which tells what it was asked for."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class ImageServer:
    """Serves what ``files`` has, by name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.stalls = threading.Event()
        """While it is set, only the first half of a file comes."""
        self.stalled = threading.Event()
        """Set once that half is on its way."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def url(self, name: str) -> str:
        """Return the address of a file."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def stop(self) -> None:
        """Be gone; once more has no effect."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        files, asked, stalls, stalled = self.files, self.asked, self.stalls, self.stalled
        pause = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(f"{self.command} {self.path}")
                found = files.get(self.path.removeprefix("/"))
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(found or b"")))
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Last-Modified", "Sat, 01 Aug 2026 00:00:00 GMT")
                self.end_headers()
                if self.command != "GET":
                    return
                body = found or b""
                self.wfile.write(body[: len(body) // 2])
                for _ in range(600):
                    if not stalls.is_set():
                        break
                    stalled.set()
                    pause.wait(0.05)
                with contextlib.suppress(OSError):
                    self.wfile.write(body[len(body) // 2 :])

            do_HEAD = do_GET  # noqa: N815 - the name is http.server's

            def log_message(self, *_words: object) -> None:
                pass

        return Handler


@contextlib.contextmanager
def serving() -> Iterator[ImageServer]:
    """Give a server that ends with the block."""
    server = ImageServer()
    try:
        yield server
    finally:
        server.stop()
