"""An internet of two network namespaces: one plays a host, the other all that the host reaches.

Sockets stay in the namespace that they were made in, so the servers are threads of the test. The
host's resolver is the one that this machine's ``/etc/resolv.conf`` names, as programs of the host
read it; nothing of what happens here reaches it.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.server
import socket
import struct
import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ohmykube.providers.nspawn import uplink_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
ROUTER = "192.0.2.254"
SITE = "198.51.100.80"
"""Where every name of ``.example`` leads: a web server and an echo of UDP."""
OTHER = "203.0.113.80"
"""Another address of the same servers, which no name leads to."""
WEB, ECHO = 80, 7
PAGE = bytes(range(256)) * 4096
"""A megabyte: it does not fit into what links hold."""
LOCAL = 8099
"""A port of 127.0.0.1 of the host on which the same page is served."""
TRUNCATED = "large"
"""A name that begins with this is answered over TCP alone."""

T = TypeVar("T")


def inside(netns: str, function: Callable[[], T]) -> T:
    """Call a function in a network namespace, with all programs that it starts."""

    def enter() -> T:
        with Path(f"/run/netns/{netns}").open() as entrance:
            assert ctypes.CDLL(None, use_errno=True).setns(entrance.fileno(), CLONE_NEWNET) == 0
        return function()

    # A thread has a network namespace of its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


@dataclass(frozen=True)
class Internet:
    """The two namespaces."""

    host: str
    beyond: str
    frames: socket.socket
    """Every frame on the link between them."""
    asked: list[str]
    """The names that the resolver was asked for."""

    def seen(self) -> int:
        """Return how many IP packets went over the link since the last call."""
        count = 0
        while True:
            try:
                frame = self.frames.recv(2048)
            except BlockingIOError:
                return count
            count += frame[12:14] in (b"\x08\x00", b"\x86\xdd")

    def settings(self) -> dict[str, str]:
        """Return the interfaces, routes, rules and settings of the namespace that plays a host."""
        commands = {
            "interfaces": "ip -o link show | sed 's/qlen.*//'; ip -o address show",
            "routes": "ip route show table all; ip -6 route show table all",
            "rules": "ip rule show; ip -6 rule show",
            "firewall": "nft list ruleset",
            "settings": "grep -r . /proc/sys/net/ipv4 /proc/sys/net/ipv6 2>/dev/null"
            " | grep -v -e stable_secret -e _cookie -e pid_max | sort",
        }
        run = ["nsenter", f"--net=/run/netns/{self.host}", "sh", "-c"]
        return {
            kind: subprocess.run([*run, command], capture_output=True, text=True, check=True).stdout
            for kind, command in commands.items()
        }


@contextlib.contextmanager
def made() -> Iterator[Internet]:
    """Make both, and remove them."""
    mark = uuid.uuid4().hex[:6]
    host, beyond = f"omk-test-host-{mark}", f"omk-test-net-{mark}"
    try:
        for name in (host, beyond):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _set(name, "net/ipv6/conf/default/disable_ipv6", "1")
        pair = ("type", "veth", "peer", "name", "in", "netns", beyond)
        _ip("-n", host, "link", "add", "outward", *pair)
        _ip("-n", host, "address", "add", "192.0.2.1/24", "dev", "outward")
        _ip("-n", host, "link", "set", "outward", "up")
        _ip("-n", host, "route", "add", "default", "via", ROUTER)
        with served(host, beyond) as asked, _listening(beyond) as frames:
            yield Internet(host, beyond, frames, asked)
    finally:
        for name in (host, beyond):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextlib.contextmanager
def served(host: str, beyond: str) -> Iterator[list[str]]:
    """Let programs of one namespace find servers in another, whose link to it is called ``in``.

    Yields the names that the resolver is asked for, as they come.
    """
    resolver = uplink_rules.resolving(Path("/etc/resolv.conf").read_text()).server
    assert resolver, "this machine has no resolver whose place could be taken"
    local = resolver.startswith("127.")
    _set(host, "net/ipv4/ping_group_range", "0 2147483647")
    _ip("-n", beyond, "address", "add", f"{ROUTER}/24", "dev", "in")
    for address in (SITE, OTHER, *(() if local else (resolver,))):
        _ip("-n", beyond, "address", "add", f"{address}/32", "dev", "in")
    _ip("-n", beyond, "link", "set", "in", "up")
    asked: list[str] = []
    with contextlib.ExitStack() as servers:
        for address in (SITE, OTHER):
            servers.enter_context(web(beyond, address, WEB))
            servers.enter_context(_echo(beyond, address))
        servers.enter_context(web(host, "127.0.0.1", LOCAL))
        servers.enter_context(_dns(host if local else beyond, resolver, asked))
        yield asked


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _set(netns: str, name: str, value: str) -> None:
    inside(netns, lambda: Path("/proc/sys", name).write_text(value))


@contextlib.contextmanager
def _listening(netns: str) -> Iterator[socket.socket]:
    def make() -> socket.socket:
        frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        frames.bind(("in", 0))
        frames.setblocking(False)
        return frames

    with inside(netns, make) as frames:
        yield frames


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""


class _Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


@contextlib.contextmanager
def web(netns: str, address: str, port: int) -> Iterator[None]:
    """Serve the page in a namespace."""
    kind = _Server6 if ":" in address else http.server.ThreadingHTTPServer
    server = inside(netns, lambda: kind((address, port), _Page))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def _serving(sock: socket.socket, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    def loop() -> None:
        while True:
            try:
                serve(sock)
            except OSError:
                return

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()
        thread.join()


def _udp(netns: str, address: str, port: int) -> socket.socket:
    def make() -> socket.socket:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind((address, port))
        return sock

    return inside(netns, make)


def _received(sock: socket.socket) -> tuple[bytes, object]:
    data, peer = sock.recvfrom(65535)
    if peer is None:
        raise ConnectionAbortedError  # it was shut down
    return data, peer


@contextlib.contextmanager
def _echo(netns: str, address: str) -> Iterator[None]:
    def serve(sock: socket.socket) -> None:
        sock.sendto(*_received(sock))

    with _serving(_udp(netns, address, ECHO), serve):
        yield


@contextlib.contextmanager
def _dns(netns: str, address: str, asked: list[str]) -> Iterator[None]:
    """Answer with ``SITE`` for names of ``.example``, and that there are no others."""

    def over_udp(sock: socket.socket) -> None:
        query, peer = _received(sock)
        sock.sendto(_answer(query, asked, tcp=False), peer)

    def over_tcp(sock: socket.socket) -> None:
        connection, _ = sock.accept()
        with connection, contextlib.suppress(OSError, struct.error):
            (size,) = struct.unpack(">H", connection.recv(2, socket.MSG_WAITALL))
            answer = _answer(connection.recv(size, socket.MSG_WAITALL), asked, tcp=True)
            connection.sendall(struct.pack(">H", len(answer)) + answer)

    listener = inside(netns, lambda: socket.create_server((address, 53)))
    with _serving(_udp(netns, address, 53), over_udp), _serving(listener, over_tcp):
        yield


def _answer(query: bytes, asked: list[str], *, tcp: bool) -> bytes:
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += query[at] + 1
    question = query[12 : at + 5]
    name = ".".join(labels)
    asked.append(name)
    head, kind = query[:2], question[-4:-2]
    if name.startswith(TRUNCATED) and not tcp:
        return head + b"\x87\x80\x00\x01" + bytes(6) + question
    # CoreDNS asks for the root, which has no label, to see whether a server is alive.
    if not name.endswith(".example"):
        return head + b"\x85\x83\x00\x01" + bytes(6) + question
    if kind != b"\x00\x01":
        return head + b"\x85\x80\x00\x01" + bytes(6) + question
    record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + socket.inet_aton(SITE)
    return head + b"\x85\x80\x00\x01\x00\x01" + bytes(4) + question + record
