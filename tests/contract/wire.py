"""A connection in the way of a test: it loses bytes, or flips one."""

from __future__ import annotations

import contextlib
import socket
import threading


class Wire:
    """A relay that flips a bit or hangs up once; ``closes``: and takes no more connections then."""

    def __init__(
        self, port: int, *, cut_after: int = 0, flip_after: int = 0, closes: bool = False
    ) -> None:
        self._port = port
        self.cut_after, self.flip_after = cut_after, flip_after
        self._closes = closes
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for call in (self._up, self._down):
                    threading.Thread(target=call, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.requests.append(data)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        done = 0
        with client, server, contextlib.suppress(OSError):
            while data := server.recv(65536):
                done += len(data)
                if self.flip_after and done > self.flip_after:
                    self.flip_after = 0
                    data = data[:-1] + bytes([data[-1] ^ 1])
                client.sendall(data)
                if self.cut_after and done > self.cut_after:
                    self.cut_after = 0
                    if self._closes:
                        self._listener.shutdown(socket.SHUT_RDWR)  # closing would not wake accept
                    client.shutdown(socket.SHUT_RDWR)
                    return

    def close(self) -> None:
        self._listener.close()
