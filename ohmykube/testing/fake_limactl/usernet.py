"""The network daemon of the fake limactl: leases, forwards and CAM over a unix socket.

It carries no packets: a forward really listens, so that a port is taken as on the real one, and
closes whoever connects.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
from typing import TYPE_CHECKING, Any

from ohmykube.testing.fake_limactl.daemons import write_pid

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.testing.fake_limactl.daemons import Stop


GATEWAY_CARD = "5a:94:ef:e4:0c:dd"
"""The true gateway is among the leases, seen on 2.0.3."""


class Paths:
    """The files of one network."""

    def __init__(self, home: Path, name: str) -> None:
        self.directory = home / "_networks" / name
        self.pid = self.directory / f"usernet_{name}.pid"
        self.endpoint = self.directory / f"{name}_ep.sock"
        self.card = self.directory / f"{name}_qemu.sock"
        self.leases = self.directory / "leases.json"


class Refused(Exception):
    """Answered with code 500 and its text."""


class State:
    """What a network knows. ``gateway`` is the one of networks.yaml; the true one is the next."""

    def __init__(self, gateway: str, netmask: str, leases: dict[str, str]) -> None:
        self.network = ipaddress.ip_network(f"{gateway}/{netmask}", strict=False)
        self.leases = {**leases, str(self.network[2]): GATEWAY_CARD}
        self.cam: dict[str, int] = {}
        self.forwards: dict[tuple[str, str], str] = {}
        self.listeners: dict[tuple[str, str], socket.socket] = {}

    def lease(self, mac: str) -> str:
        """Give an address; a card that had one gets it again, none is ever free again."""
        for address, owner in self.leases.items():
            if owner == mac:
                return address
        address = next(str(one) for one in self.network.hosts() if str(one) not in self.leases)
        self.leases[address] = mac
        return address

    def join(self, body: dict[str, Any]) -> dict[str, str]:
        """A machine came: card, and port of ssh that the daemon carries."""
        address = self.lease(body["mac"])
        self.cam[body["mac"]] = len(self.cam)
        # The port itself is held by the host agent of the fake.
        self.forwards["tcp", f"127.0.0.1:{body['port']}"] = f"{address}:22"
        return {"address": address}

    def leave(self, body: dict[str, Any]) -> None:
        """A machine went; its lease and its entry of the switch stay."""
        self.forwards.pop(("tcp", f"127.0.0.1:{body['port']}"), None)

    def expose(self, body: dict[str, Any]) -> None:
        """Carry a port."""
        key = (body.get("protocol") or "tcp", body["local"])
        if key in self.forwards:
            raise Refused("proxy already running")
        host, _, port = body["local"].rpartition(":")
        kind = socket.SOCK_DGRAM if key[0] == "udp" else socket.SOCK_STREAM
        listener = socket.socket(socket.AF_INET, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, int(port)))
            if kind == socket.SOCK_STREAM:
                listener.listen()
        except (OSError, ValueError, OverflowError) as error:
            listener.close()
            raise Refused(f"listen {key[0]} {body['local']}: {error}") from error
        self.listeners[key] = listener
        self.forwards[key] = body["remote"]

    def unexpose(self, body: dict[str, Any]) -> None:
        """Carry it no more."""
        key = (body.get("protocol") or "tcp", body["local"])
        if self.forwards.pop(key, None) is None:
            raise Refused("proxy not found")
        if listener := self.listeners.pop(key, None):
            listener.close()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """Answer one request; raises Refused, or KeyError for an unknown path."""
        if method == "GET":
            return {
                "/services/dhcp/leases": self.leases,
                "/cam": self.cam,
                "/services/forwarder/all": [
                    {"local": local, "remote": remote, "protocol": protocol}
                    for (protocol, local), remote in self.forwards.items()
                ],
            }[path]
        return {
            "/services/forwarder/expose": self.expose,
            "/services/forwarder/unexpose": self.unexpose,
            "/fake/join": self.join,
            "/fake/leave": self.leave,
        }[path](body)


def respond(state: State, connection: socket.socket) -> None:
    """Read one request and answer it; HTTP as far as the provider speaks it."""
    with connection.makefile("rb") as stream:
        method, path, _ = stream.readline().decode().split(maxsplit=2)
        length = 0
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        body = stream.read(length)
    try:
        answer = state.answer(method, path, json.loads(body or b"{}"))
        code, data = "200 OK", b"" if answer is None else json.dumps(answer).encode()
    except Refused as error:
        code, data = "500 Internal Server Error", f"{error}\n".encode()
    except (KeyError, ValueError, TypeError):
        code, data = "404 Not Found", b"404 page not found\n"
    head = f"HTTP/1.1 {code}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode() + data)


def listen(path: Path) -> socket.socket:
    """Bind a unix socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener


def serve(paths: Paths, state: State, endpoint: socket.socket, stop: Stop) -> None:
    """Answer until stopped, then keep the leases and remove the sockets."""
    while not stop.wanted():
        for one in stop.wait([endpoint, *state.listeners.values()], 0.5):
            with contextlib.suppress(OSError):
                if one is endpoint:
                    connection, _address = one.accept()
                    connection.settimeout(5)
                    with connection, contextlib.suppress(ValueError):
                        respond(state, connection)
                elif one.type == socket.SOCK_STREAM:
                    one.accept()[0].close()
                else:
                    one.recv(1 << 16)
    for listener in (endpoint, *state.listeners.values()):
        listener.close()
    if paths.directory.is_dir():
        paths.leases.write_text(json.dumps(state.leases))
        for path in (paths.endpoint, paths.card, paths.pid):
            path.unlink(missing_ok=True)


def run(paths: Paths, state: State, stop: Stop) -> None:
    """Be the daemon."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(stop)
        stack.enter_context(listen(paths.card))
        endpoint = stack.enter_context(listen(paths.endpoint))
        write_pid(paths.pid, os.getpid())
        serve(paths, state, endpoint, stop)


def ask(paths: Paths, path: str, body: dict[str, Any]) -> bytes:
    """Ask a daemon; raises OSError when it is not there."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: local\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(str(paths.endpoint))
        connection.sendall(head.encode() + data)
        with connection.makefile("rb") as stream:
            return stream.read().partition(b"\r\n\r\n")[2]
