"""A network namespace whose only way out ends at a socket, so that no packet leaves it unseen."""

from __future__ import annotations

import ctypes
import socket
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.conftest import Cli

if TYPE_CHECKING:
    from collections.abc import Iterator

INSIDE, BEYOND = "omk-test-offline", "omk-test-beyond"
ELSEWHERE = "203.0.113.9"
LLADDR = "02:00:00:00:00:01"
CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3


@dataclass(frozen=True)
class Island:
    """The namespace, and every frame that leaves it."""

    frames: socket.socket

    @property
    def enter(self) -> list[str]:
        """Return the start of a command line that runs there."""
        return ["nsenter", f"--net=/run/netns/{INSIDE}"]

    def left(self) -> list[bytes]:
        """Return the frames that left since the last call."""
        found = []
        while True:
            try:
                found.append(self.frames.recv(2048))
            except BlockingIOError:
                return found

    def sees(self) -> bool:
        """Send a packet away and tell whether it was seen: else nothing ever would be."""
        send = f"import socket; socket.socket(type=2).sendto(b'seen', ('{ELSEWHERE}', 9))"
        subprocess.run([*self.enter, "python3", "-c", send], check=True)
        return any(frame.endswith(b"seen") for frame in self.left())


class Islander(Cli):
    """Runs `ohmykube` on the island."""

    @property
    def near_api(self) -> list[str]:
        """Return the start of a command line that runs there: ports of 127.0.0.1 are its own."""
        return ["nsenter", f"--net=/run/netns/{INSIDE}"]

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [*self.near_api, *super().argv(*arguments)]


@contextmanager
def surrounded() -> Iterator[Island]:
    """Make the island, and remove it."""
    _remove()
    try:
        for name in (INSIDE, BEYOND):
            _ip("netns", "add", name)
            quiet = ["sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1"]
            subprocess.run(["nsenter", f"--net=/run/netns/{name}", *quiet], check=True)
        pair = ("type", "veth", "peer", "name", "in", "netns", BEYOND)
        _ip("-n", INSIDE, "link", "add", "out", *pair)
        _ip("-n", BEYOND, "link", "set", "in", "up")
        _ip("-n", INSIDE, "link", "set", "lo", "up")
        _ip("-n", INSIDE, "address", "add", "192.0.2.1/24", "dev", "out")
        _ip("-n", INSIDE, "link", "set", "out", "up")
        _ip("-n", INSIDE, "route", "add", "default", "via", "192.0.2.254")
        # Known beforehand: nothing waits for an answer about it, every packet really goes.
        known = ("192.0.2.254", "lladdr", LLADDR, "dev", "out")
        _ip("-n", INSIDE, "neigh", "add", *known)
        with _listening(BEYOND, "in") as frames:
            yield Island(frames)
    finally:
        _remove()


def _remove() -> None:
    for name in (INSIDE, BEYOND):
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _listening(netns: str, link: str) -> socket.socket:
    """Return a socket that sees every frame that arrives at a link of another namespace."""
    made: list[socket.socket] = []

    def enter() -> None:
        # A thread has a network namespace of its own; a socket stays in the one it was made in.
        with Path(f"/run/netns/{netns}").open() as entrance:
            assert ctypes.CDLL(None, use_errno=True).setns(entrance.fileno(), CLONE_NEWNET) == 0
        frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        frames.bind((link, 0))
        frames.setblocking(False)
        made.append(frames)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0]
