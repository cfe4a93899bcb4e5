"""A cluster from a bundle alone, where no packet can leave unseen."""

from __future__ import annotations

import ctypes
import shutil
import socket
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import NOTHING, Cli, traces, wait_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.nodes
INSIDE, BEYOND = "omk-test-offline", "omk-test-beyond"
ELSEWHERE = "203.0.113.9"
CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
DESCRIPTION = """\
apiVersion: ohmykube.dev/v1
kind: Cluster
metadata: {name: offline}
spec:
  provider: {name: nspawn}
  nodes:
    workers: {count: 0}
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def listening(netns: str, link: str) -> socket.socket:
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


@dataclass(frozen=True)
class Island:
    """A namespace whose only way out ends at a socket."""

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


class Islander(Cli):
    """Runs `ohmykube` on the island."""

    def argv(self, *arguments: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{INSIDE}", *super().argv(*arguments)]


@pytest.fixture
def island() -> Iterator[Island]:
    for name in (INSIDE, BEYOND):
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    try:
        for name in (INSIDE, BEYOND):
            ip("netns", "add", name)
            quiet = ["sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1"]
            subprocess.run(["nsenter", f"--net=/run/netns/{name}", *quiet], check=True)
        ip(
            "-n",
            INSIDE,
            "link",
            "add",
            "out",
            "type",
            "veth",
            "peer",
            "name",
            "in",
            "netns",
            BEYOND,
        )
        ip("-n", BEYOND, "link", "set", "in", "up")
        ip("-n", INSIDE, "link", "set", "lo", "up")
        ip("-n", INSIDE, "address", "add", "192.0.2.1/24", "dev", "out")
        ip("-n", INSIDE, "link", "set", "out", "up")
        ip("-n", INSIDE, "route", "add", "default", "via", "192.0.2.254")
        # Known beforehand: nothing waits for an answer about it, every packet really goes.
        ip("-n", INSIDE, "neigh", "add", "192.0.2.254", "lladdr", "02:00:00:00:00:01", "dev", "out")
        with listening(BEYOND, "in") as frames:
            yield Island(frames)
    finally:
        for name in (INSIDE, BEYOND):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def read_by_containerd(there: Cli, tmp_path: Path) -> None:
    """Import an export with an image and a package with `ctr` on the node: one image, whole."""
    target = tmp_path / "pause.omk.tar"
    packages = ["containerd"]  # what is no image must not become one
    images = [r["name"] for r in there.json("cache", "ls")["items"] if "/pause:" in r["name"]]
    there.run("cache", "export", *images, *packages, "--to", str(target))
    (root,) = (there.home / "data" / "nspawn" / "offline").glob("**/root/etc/ohmykube")
    shutil.copy(target, root / "pause.omk.tar")

    def ctr(*words: str) -> list[str]:
        return there.on("offline", "cp1", "ctr", "-n", "bundle", *words).splitlines()

    ctr("images", "import", "/etc/ohmykube/pause.omk.tar")
    assert ctr("images", "list", "-q") == images
    (checked,) = ctr("images", "check")[1:]
    assert "complete (2/2)" in checked


def test_a_cluster_from_a_bundle_sends_no_packet_away(
    cli: Cli, island: Island, tmp_path: Path
) -> None:
    assert traces("offline") == NOTHING
    (tmp_path / "cluster.yaml").write_text(DESCRIPTION)
    described = ("-f", str(tmp_path / "cluster.yaml"))
    bundle = str(tmp_path / "offline.omk.tar")
    written = cli.json("bundle", "create", *described, "--to", bundle)
    assert written["files"] == [bundle]

    there = Islander(tmp_path / "omk", tmp_path / "cache")
    lacking = there.run("up", *described, "--offline", check=False)
    assert lacking.returncode == 6
    assert "12 artifacts" in lacking.stderr
    assert "machine image nspawn" in lacking.stderr
    assert "ohmykube bundle create" in lacking.stderr
    try:
        there.run("up", *described, "--offline", "--bundle", bundle)
        assert there.json("status", "offline")["health"] == "healthy"
        assert island.left() == []
        read_by_containerd(there, tmp_path)
    finally:
        there.run("down", "offline", "--yes", check=False)
    assert wait_gone("offline") == NOTHING
    assert island.left() == []
    # Blobs were used where they lie: of 200 MB the cache has what only it can make.
    pool = sum(p.stat().st_size for p in (there.cache / "oci").rglob("*") if p.is_file())
    assert pool < 1 << 20

    send = f"import socket; socket.socket(type=2).sendto(b'seen', ('{ELSEWHERE}', 9))"
    subprocess.run([*island.enter, "python3", "-c", send], check=True)
    assert any(frame.endswith(b"seen") for frame in island.left()), "the test sees nothing"
