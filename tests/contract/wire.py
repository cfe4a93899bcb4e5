"""A connection in the way of a test: it loses bytes, flips one, or holds them back."""

from __future__ import annotations

import contextlib
import socket
import threading


class Wire:
    """A relay at a port that stays: once told to, it hangs up, flips a bit or stops in mid-stream.

    While it is not ``up`` it hangs up on whoever comes; with ``stays_cut`` that is so after a cut.
    """

    def __init__(
        self, target: int = 0, *, cut_after: int = 0, flip_after: int = 0, stays_cut: bool = False
    ) -> None:
        self.target = target
        self.cut_after, self.flip_after, self.stall_after = cut_after, flip_after, 0
        self.stalled, self.go_on = threading.Event(), threading.Event()
        self.up = True
        self.requests: list[bytes] = []
        self._stays_cut = stays_cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.go_on.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake accept
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self.up:
                    client.close()
                    continue
                server = self._connect()
                for call in (self._upwards, self._downwards):
                    threading.Thread(target=call, args=(client, server), daemon=True).start()

    def _connect(self) -> socket.socket:
        server = socket.socket()
        # Little is on the way at a time: what the sender has sent in vain at a cut is little too.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        server.connect(("127.0.0.1", self.target))
        return server

    def _upwards(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.requests.append(data)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _downwards(self, client: socket.socket, server: socket.socket) -> None:
        done = 0
        with client, server, contextlib.suppress(OSError):
            while data := server.recv(65536):
                done += len(data)
                if self.flip_after and done > self.flip_after:
                    self.flip_after = 0
                    data = data[:-1] + bytes([data[-1] ^ 1])
                if self.stall_after and done > self.stall_after:
                    self.stall_after = 0
                    self.stalled.set()
                    self.go_on.wait(60)
                client.sendall(data)
                if self.cut_after and done > self.cut_after:
                    self.cut_after, self.up = 0, not self._stays_cut
                    client.shutdown(socket.SHUT_RDWR)
                    return
