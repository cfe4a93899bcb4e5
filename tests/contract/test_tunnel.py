"""What leads from a node to this host, over a real sshd: a forward on the shared connection."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import UnreachableError
from ohmykube.kit import process, retry
from ohmykube.providers import ssh_config
from ohmykube.steps.tunnel import NODE_PORT, SharedForward, Tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ohmykube.model.machine import Machine
    from ohmykube.providers.nspawn.provider import NspawnProvider

pytestmark = pytest.mark.nodes
CLOCK = retry.SystemClock()
SHORT = retry.Wait(seconds=2, every=0.05, factor=1.5, longest=0.5)
ASK = f"exec 3<>/dev/tcp/127.0.0.1/{NODE_PORT} && cat <&3"


@contextmanager
def server(says: str) -> Iterator[int]:
    """Give the port of a server on this host that says one word to whoever comes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.sendall(says.encode())

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


class Way:
    """The configuration for one node, and commands on it over the shared connection."""

    def __init__(self, machine: Machine, directory: Path, sockets: Path) -> None:
        assert machine.ssh is not None
        self.node = machine.node
        self.config = directory / "ssh_config"
        self.config.write_text(ssh_config.render({machine.node: machine.ssh}, sockets))
        self.log = directory / "tunnel.log"

    def ssh(self, *words: str) -> process.Result:
        return process.run(["ssh", "-F", str(self.config), *words], timeout=20, check=False)

    def run(self, command: str) -> process.Result:
        return self.ssh(self.node, "--", "bash", "-c", f"'{command}'")

    def heard(self) -> str:
        return self.run(ASK).stdout

    def forward(self, port: int) -> SharedForward:
        return SharedForward(self.config, self.node, port, self.log)


@pytest.fixture
def way(
    bare_nodes: tuple[NspawnProvider, str, list[Machine]],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Way]:
    made = Way(bare_nodes[2][0], tmp_path, tmp_path_factory.getbasetemp())
    assert made.run("true").code == 0
    yield made
    made.ssh("-O", "exit", made.node)


def test_it_opens_without_a_connection_of_its_own_and_ends(way: Way) -> None:
    with server("hello") as port:
        forward = way.forward(port)
        forward.wait(CLOCK)
        forward.wait(CLOCK)  # asked twice it is the same one
        assert way.heard() == "hello"
        assert not way.log.exists(), "a tunnel was needed"
        forward.close()
        forward.close()
        assert way.heard() == ""


def test_it_is_opened_again_when_the_connection_was_lost(way: Way) -> None:
    with server("hello") as port:
        forward = way.forward(port)
        forward.wait(CLOCK)
        way.ssh("-O", "exit", way.node)
        assert way.run("true").code == 0
        assert way.heard() == ""
        forward.wait(CLOCK)
        assert way.heard() == "hello"
        forward.close()


def test_what_a_killed_run_left_is_not_in_the_way(way: Way) -> None:
    with server("old") as stale, server("new") as port:
        way.forward(stale).wait(CLOCK)  # and its run ends without a word
        forward = way.forward(port)
        forward.wait(CLOCK)
        assert way.heard() == "new"
        forward.close()
        assert way.heard() == ""


def test_without_a_shared_connection_a_tunnel_takes_its_place(
    bare_nodes: tuple[NspawnProvider, str, list[Machine]], tmp_path: Path
) -> None:
    long = tmp_path / ("x" * ssh_config.LONGEST_CONTROL_DIR)
    way = Way(bare_nodes[2][0], tmp_path, long)
    with server("hello") as port:
        forward = way.forward(port)
        forward.wait(CLOCK)
        assert way.heard() == "hello"
        forward.close()
        assert way.heard() == ""


def test_a_port_that_somebody_else_has_is_refused_with_the_reason(way: Way) -> None:
    with server("mine") as port, server("other") as other:
        tunnel = Tunnel(way.config, way.node, other, way.log.with_name("other.log"))
        try:
            tunnel.wait(CLOCK)
            forward = way.forward(port)
            with pytest.raises(UnreachableError, match="does not open the tunnel") as caught:
                forward.wait(CLOCK, SHORT)
            assert f"listen port {NODE_PORT}" in (caught.value.why or "")
            forward.close()
            assert way.heard() == "other"
        finally:
            tunnel.close()
