"""The client of the network daemon, against the daemon of the fake limactl."""

from __future__ import annotations

import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.providers.lima.usernet import Forward, Usernet, UsernetDown, UsernetError, endpoint
from ohmykube.testing.fake_limactl import usernet as fake
from ohmykube.testing.fake_limactl.daemons import Stop
from tests.free_port import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CARD = "52:55:55:00:00:01"


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="l") as directory:  # short: sockets lie in it
        yield Path(directory)


@pytest.fixture
def state(home: Path) -> Iterator[fake.State]:
    paths = fake.Paths(home, "net")
    paths.directory.mkdir(parents=True)
    state = fake.State("192.168.231.1", "255.255.255.0", {})
    stop = Stop(paths.directory, 600)
    listener = fake.listen(paths.endpoint)
    thread = threading.Thread(target=fake.serve, args=(paths, state, listener, stop))
    with stop:
        thread.start()
        yield state
        stop.ask()
        thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def usernet(home: Path, state: fake.State) -> Usernet:
    return Usernet(endpoint(home, "net"))


def guest(number: int, port: int) -> str:
    return f"192.168.231.{number}:{port}"


def test_leases_and_cards(usernet: Usernet, state: fake.State) -> None:
    assert usernet.alive()
    assert usernet.leases() == {"192.168.231.2": fake.GATEWAY_CARD}
    state.join({"mac": CARD, "port": 1})
    state.join({"mac": CARD[:-1] + "2", "port": 2})
    # The first machine gets .1, and .2 is the gateway whatever networks.yaml says.
    assert usernet.leases() == {
        "192.168.231.1": CARD,
        "192.168.231.2": fake.GATEWAY_CARD,
        "192.168.231.3": CARD[:-1] + "2",
    }
    assert usernet.cam() == {CARD: 0, CARD[:-1] + "2": 1}
    assert usernet.forwards()[0] == Forward("127.0.0.1:1", guest(1, 22), "tcp")


def test_expose_and_take_back(usernet: Usernet) -> None:
    local = f"127.0.0.1:{free_port()}"
    usernet.expose(local, guest(200, 80))
    assert usernet.forwards() == (Forward(local, guest(200, 80), "tcp"),)
    with socket.create_connection(("127.0.0.1", int(local.rpartition(":")[2])), 10):
        pass
    with pytest.raises(UsernetError, match="refused") as caught:
        usernet.expose(local, guest(201, 80))
    assert caught.value.why == "proxy already running"
    usernet.unexpose(local)
    assert usernet.forwards() == ()
    with pytest.raises(UsernetError):
        usernet.unexpose(local)


def test_udp(usernet: Usernet) -> None:
    local = f"127.0.0.1:{free_port()}"
    usernet.expose(local, guest(200, 53), "udp")
    assert usernet.forwards()[0].protocol == "udp"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", int(local.rpartition(":")[2])))
    usernet.unexpose(local, "udp")
    assert usernet.forwards() == ()


@pytest.mark.parametrize("local", ["127.0.0.1:x", "300.0.0.1:80", "127.0.0.1:70000"])
def test_places_that_cannot_be_listened_on(usernet: Usernet, local: str) -> None:
    with pytest.raises(UsernetError):
        usernet.expose(local, guest(200, 80))
    assert usernet.forwards() == ()


def test_a_taken_port(usernet: Usernet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        local = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsernetError) as caught:
            usernet.expose(local, guest(200, 80))
    assert "in use" in (caught.value.why or "")


def test_nobody_there(home: Path) -> None:
    usernet = Usernet(endpoint(home, "net"))
    assert not usernet.alive()
    with pytest.raises(UsernetDown) as caught:
        usernet.forwards()
    assert caught.value.id == "OMK-P-420"


def test_a_socket_that_its_daemon_left(home: Path) -> None:
    path = endpoint(home, "net")
    path.parent.mkdir(parents=True)
    fake.listen(path).close()
    assert not Usernet(path).alive()


def answering(path: Path, data: bytes) -> Callable[[], None]:
    """Answer one request with ``data``."""
    listener = fake.listen(path)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, listener:
            connection.recv(1 << 16)
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):  # closed with something unread, it would be reset
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    return lambda: thread.join(30)


@pytest.mark.parametrize("body", [b"nonsense", b"[1]", b'{"a": [1]}', b'[{"local": 1}]'])
@pytest.mark.parametrize("method", ["leases", "cam", "forwards"])
def test_nonsense(home: Path, body: bytes, method: str) -> None:
    path = home / "s"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
    done = answering(path, head.encode() + body)
    with pytest.raises(UsernetError) as caught:
        getattr(Usernet(path), method)()
    assert caught.value.id == "OMK-P-422"
    done()


def test_no_http(home: Path) -> None:
    path = home / "s"
    done = answering(path, b"220 mail\r\n")
    with pytest.raises(UsernetDown):
        Usernet(path).leases()
    done()


def test_a_refusal_without_words(home: Path) -> None:
    path = home / "s"
    done = answering(path, b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(UsernetError) as caught:
        Usernet(path).expose("127.0.0.1:1", "x")
    assert caught.value.why == "it answered 500"
    done()


def test_silence_ends(home: Path) -> None:
    path = home / "s"
    with fake.listen(path):
        assert not Usernet(path, timeout=0.05).alive()
    assert path.exists()
