"""A real containerd pulls from our server: what the registry contract is worth."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import releases, resolve
from ohmykube.cache.serve import Server
from ohmykube.cache.sources import base as sources
from ohmykube.cache.store import Store
from ohmykube.errors import OhmykubeError
from ohmykube.kit import paths, retry
from ohmykube.model.artifact import Kind
from ohmykube.model.cluster import Sources
from ohmykube.progress import NullReporter
from tests import image_maker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.nodes

TOKEN = "t0k-en_4711"
REF = "registry.k8s.io/whatever:1"
HOSTS = """\
[host."http://127.0.0.1:{port}"]
capabilities = ["pull", "resolve"]

[host."http://127.0.0.1:{port}".header]
Authorization = ["Bearer {token}"]
Ohmykube-Node = ["w1"]
"""


def programs(cache: Path) -> dict[str, Path]:
    """Return containerd and ctr: given, installed, or through the shared cache."""
    search = os.pathsep.join((os.environ.get("OHMYKUBE_TEST_BIN", ""), os.environ["PATH"]))
    found = {name: shutil.which(name, path=search) for name in ("containerd", "ctr")}
    if all(found.values()):
        return {name: Path(str(path)) for name, path in found.items()}
    wanted = releases.release(releases.default_version())
    component = next(c for c in wanted.components if c.name == "containerd")
    context = sources.SourceContext(
        store=Store(cache),
        sources=Sources(),
        reporter=NullReporter(),
        paths=replace(paths.from_environment(), cache=cache),
    )
    chain = resolve.Chain(("upstream", "build"), context, sources.load)
    arch = resolve.host_arch()
    return dict(chain.first("containerd", lambda source: source.component(component, arch))[0])


@dataclass
class Containerd:
    directory: Path
    programs: Path

    def ctr(self, *words: str) -> subprocess.CompletedProcess[str]:
        address = str(self.directory / "c.sock")
        return subprocess.run(
            [str(self.programs / "ctr"), "--address", address, "-n", "test", *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def pull(self, port: int, token: str = TOKEN, ref: str = REF) -> tuple[int, str]:
        hosts = self.directory / "certs.d" / "_default"
        hosts.mkdir(parents=True, exist_ok=True)
        (hosts / "hosts.toml").write_text(HOSTS.format(port=port, token=token))
        done = self.ctr("images", "pull", "--hosts-dir", str(hosts.parent), ref)
        return done.returncode, done.stdout + done.stderr

    def content(self) -> set[str]:
        return set(self.ctr("content", "ls", "-q").stdout.split())

    def complete(self) -> bool:
        return "complete" in self.ctr("images", "check").stdout.replace("incomplete", "")


CONFIG = """\
version = 3
root = "{root}/root"
state = "{root}/state"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{root}/c.sock"
[ttrpc]
address = "{root}/c.sock.ttrpc"
"""


@pytest.fixture
def containerd(tmp_path: Path, shared_cache: Path) -> Iterator[Containerd]:
    try:
        found = programs(shared_cache)
    except OhmykubeError as error:
        why = f"needs containerd, installed or from a source: {error.message}"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    one = Containerd(tmp_path / "containerd", tmp_path / "bin")
    one.programs.mkdir()
    for name in ("containerd", "ctr"):
        shutil.copy(found[name], one.programs / name)
        (one.programs / name).chmod(0o755)
    one.directory.mkdir()
    (one.directory / "config.toml").write_text(CONFIG.format(root=one.directory))
    argv = [str(one.programs / "containerd"), "--config", str(one.directory / "config.toml")]
    with (one.directory / "log").open("wb") as log, contextlib.ExitStack() as stack:
        daemon = stack.enter_context(
            subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        )
        stack.callback(daemon.kill)

        def answers() -> bool | None:
            return True if one.ctr("version").returncode == 0 else None

        retry.until(retry.SystemClock(), retry.Wait(seconds=30, every=0.1), "containerd", answers)
        yield one
        daemon.terminate()
        daemon.wait(20)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def test_pull_and_pull_again(
    containerd: Containerd, store: Store, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    base = image_maker.image(3_000_000, 200_000)
    digest = base.put(store)
    lock = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, digest))
    with Server(store, lock, TOKEN) as server:
        code, output = containerd.pull(server.port)
        assert code == 0, output
        assert containerd.complete()
        assert containerd.content() >= {digest, *base.blobs}
        blobs = {blob: len(data) for blob, data in base.blobs.items()}

        def sent() -> dict[str, int]:
            return {blob: server.stats.by_blob.get(blob, 0) for blob in blobs}

        assert eventually(lambda: sent() == blobs)
        assert set(server.stats.by_client) == {"w1"}
        assert containerd.pull(server.port)[0] == 0
        assert sent() == blobs


def test_a_wrong_token_is_refused(containerd: Containerd, store: Store) -> None:
    lock = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, image_maker.image(1000).put(store)))
    with Server(store, lock, TOKEN) as server:
        code, output = containerd.pull(server.port, token="wrong")
        assert code != 0, output
        assert server.stats.sent == 0


def test_a_flipped_bit_on_disk_is_found_before_it_is_sent(
    containerd: Containerd, store: Store
) -> None:
    made = image_maker.image(500_000)
    lock = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, made.put(store)))
    path = store.path(made.layers[0])
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with Server(store, lock, TOKEN) as server:
        code, output = containerd.pull(server.port)
        assert code != 0, output
        assert made.layers[0] not in server.stats.by_blob
    assert not store.has(made.layers[0])
    made.put(store)
    with Server(store, lock, TOKEN) as server:
        code, output = containerd.pull(server.port)
        assert code == 0, output


class Wire:
    """A relay between containerd and the server that flips a bit or hangs up once."""

    def __init__(self, port: int, *, cut_after: int = 0, flip_after: int = 0) -> None:
        self._port = port
        self.cut_after, self.flip_after = cut_after, flip_after
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
                    client.shutdown(socket.SHUT_RDWR)
                    return

    def close(self) -> None:
        self._listener.close()


def test_a_bit_flipped_on_the_way_fails_the_pull(containerd: Containerd, store: Store) -> None:
    """Why the server hashes first: containerd may keep the bad bytes and fail on every retry."""
    made = image_maker.image(5_000_000)
    lock = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, made.put(store)))
    with Server(store, lock, TOKEN) as server:
        with contextlib.closing(Wire(server.port, flip_after=1_000_000)) as wire:
            code, output = containerd.pull(wire.port)
        assert wire.flip_after == 0
        assert code != 0, output
        assert "unexpected commit digest" in output
    assert made.layers[0] not in containerd.content()


def test_a_cut_connection_is_resumed_in_mid_blob(containerd: Containerd, store: Store) -> None:
    made = image_maker.image(20_000_000)
    lock = image_maker.lock(image_maker.locked(Kind.IMAGE, REF, made.put(store)))
    with Server(store, lock, TOKEN) as server:
        with contextlib.closing(Wire(server.port, cut_after=8_000_000)) as wire:
            code, output = containerd.pull(wire.port)
        assert wire.cut_after == 0
        assert code == 0, output
        assert any(b"\r\nRange: bytes=" in request for request in wire.requests)
        assert containerd.complete()


def test_images_outside_the_lock_are_not_served(containerd: Containerd, store: Store) -> None:
    made = image_maker.image(1000)
    made.put(store)
    with Server(store, image_maker.lock(), TOKEN) as server:
        code, output = containerd.pull(server.port, ref=f"127.0.0.1:{server.port}/other:1")
        assert code != 0, output
        assert server.stats.sent == 0
