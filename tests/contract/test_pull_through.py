"""A real containerd pulls through our mirror from a registry double: each byte is fetched once."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import registries

from ohmykube.cache import transport
from ohmykube.cache.download import Downloader
from ohmykube.cache.registry_client import RegistryClient
from ohmykube.cache.serve import Listener, PullThrough, upstreams
from ohmykube.cache.serve.release_files import ReleaseFiles
from ohmykube.cache.store import Store
from ohmykube.kit import architecture
from ohmykube.kit.retry import SystemClock
from ohmykube.testing.reporter import RecordingReporter
from tests import image_maker
from tests.contract.own_containerd import TOKEN
from tests.contract.wire import Wire
from tests.fault_server import Answer
from tests.registry_double import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.own_containerd import Containerd

pytestmark = pytest.mark.nodes

BOX = "docker.io/library/box:1"
QUICK = transport.Timing(connect=2, read=5, attempts=2, pause=0.05, longest=0.5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


@pytest.fixture
def mirror(store: Store, registry: Registry, tmp_path: Path) -> Iterator[Listener]:
    downloader = Downloader(store, RecordingReporter(), transport.Transport(QUICK))
    content = PullThrough(
        store,
        upstreams([f"docker.io={registry.url}", f"quay.io={registry.url}"]),
        RecordingReporter(),
        client=RegistryClient(downloader, tmp_path / "config.json"),
        clock=SystemClock(),
        files=ReleaseFiles(store),
        tag_seconds=0,
    )
    with Listener(store, content, [TOKEN]) as running:
        yield running


def image(*sizes: int, seed: int = 1) -> image_maker.Image:
    return image_maker.image(*sizes, seed=seed, arch=architecture.host())


def test_each_layer_comes_from_the_registry_once(
    containerd: Containerd, mirror: Listener, registry: Registry
) -> None:
    first, second = image(2_000_000), image(2_000_000, 300_000)
    other = image_maker.image(1000, seed=9, arch="riscv64")
    arch = architecture.host()
    index = registry.add_index("library/box", "1", {"riscv64": other, arch: first})
    code, output = containerd.pull(mirror.port, ref=BOX)
    assert code == 0, output
    # ctr reads manifest and config of every platform (the kubelet does not); layers it does not.
    small = {other.digest, *other.blobs} - set(other.layers)
    assert set(registry.pulls()) - small == {index, first.digest, *first.blobs}
    assert len(registry.pulls()) == len(set(registry.pulls()))
    assert containerd.content() >= {index, first.digest, *first.blobs}

    # Another name that shares a layer: only what lacks is fetched.
    registry.seen.clear()
    registry.add("team/other", "2", second)
    code, output = containerd.pull(mirror.port, ref="quay.io/team/other:2")
    assert code == 0, output
    assert set(registry.pulls()) == {second.digest, *second.blobs} - set(first.blobs)

    # Forgotten by the node, but not by the mirror; and nobody answers any more.
    registry.answers.clear()
    registry.seen.clear()
    registry.on("/v2/library/box/manifests/1", Answer(status=503))
    assert containerd.ctr("images", "rm", "--sync", BOX, "quay.io/team/other:2").returncode == 0
    assert not containerd.content() & set(first.blobs)
    code, output = containerd.pull(mirror.port, ref=BOX)
    assert code == 0, output
    assert registry.pulls() == []
    assert containerd.complete()


def test_an_image_by_its_digest(
    containerd: Containerd, mirror: Listener, registry: Registry
) -> None:
    made = image(500_000)
    registry.add("library/box", "1", made)
    code, output = containerd.pull(mirror.port, ref=f"docker.io/library/box@{made.digest}")
    assert code == 0, output
    assert sorted(registry.pulls()) == sorted([made.digest, *made.blobs])


def test_a_token_of_the_registry_that_expires_in_mid_pull(
    containerd: Containerd, mirror: Listener, registry: Registry
) -> None:
    made = image(500_000)
    registry.add("library/box", "1", made)
    path = f"/v2/library/box/blobs/{made.layers[0]}"
    registry.want_token(path, registry.answers[path][0], "second")
    code, output = containerd.pull(mirror.port, ref=BOX)
    assert code == 0, output
    assert registry.headers_of(path)[-1]["Authorization"] == "Bearer second"


def test_a_registry_that_dies_in_mid_blob(
    containerd: Containerd, mirror: Listener, registry: Registry, store: Store
) -> None:
    made = image(3_000_000)
    registry.add("library/box", "1", made)
    path = f"/v2/library/box/blobs/{made.layers[0]}"
    whole = registry.answers[path][0]
    registry.on(path, Answer(whole.body, cut=1_000_000, etag=whole.etag), Answer(status=503))
    code, output = containerd.pull(mirror.port, ref=BOX)
    assert code != 0
    assert not store.has(made.layers[0])
    registry.on(path, whole)
    code, output = containerd.pull(mirror.port, ref=BOX)
    assert code == 0, output
    assert containerd.complete()


@pytest.mark.parametrize("fault", ["wrong digest", "no such platform", "login", "no such tag"])
def test_faults_of_the_registry_fail_the_pull_and_say_why(
    containerd: Containerd, mirror: Listener, registry: Registry, store: Store, fault: str
) -> None:
    made = image(100_000)
    if fault == "no such platform":
        other = image_maker.image(1000, seed=9, arch="riscv64")
        registry.add_index("library/box", "1", {"riscv64": other})
    else:
        registry.add("library/box", "1", made)
    if fault == "wrong digest":
        registry.on(f"/v2/library/box/blobs/{made.layers[0]}", Answer(b"evil" * 1000))
    if fault == "login":
        challenge = {"WWW-Authenticate": 'Basic realm="x"'}
        registry.on("/v2/library/box/manifests/1", Answer(status=401, headers=challenge))
    if fault == "no such tag":
        registry.on("/v2/library/box/manifests/1", Answer(status=404))
    platform_only = ["--local", "--platform", f"linux/{architecture.host()}"]
    code, output = containerd.pull(mirror.port, TOKEN, BOX, *platform_only)
    assert code != 0
    assert output
    assert not store.has(made.layers[0])
    assert not containerd.complete()


def test_a_tunnel_that_is_lost_in_mid_blob(
    containerd: Containerd, mirror: Listener, registry: Registry
) -> None:
    """Where it is open again at once, containerd goes on where it was, in the same pull."""
    made = image(12_000_000)
    registry.add("library/box", "1", made)
    with contextlib.closing(Wire(mirror.port, cut_after=5_000_000)) as wire:
        code, output = containerd.pull(wire.port, ref=BOX)
    assert code == 0, output
    assert wire.cut_after == 0
    assert containerd.complete()
    assert any(b"\r\nRange: bytes=" in request for request in wire.requests)
    assert registry.pulls().count(made.layers[0]) == 1


def test_a_tunnel_that_stays_lost(
    containerd: Containerd, mirror: Listener, registry: Registry
) -> None:
    """The pull fails; the next one ends well, and the registry is not asked for the blob again."""
    made = image(12_000_000)
    registry.add("library/box", "1", made)
    with contextlib.closing(Wire(mirror.port, cut_after=5_000_000, stays_cut=True)) as wire:
        code, _ = containerd.pull(wire.port, ref=BOX)
        assert code != 0
        assert wire.cut_after == 0
    # What came of the blob may be gone: containerd's collector runs when a pull has ended.
    code, output = containerd.pull(mirror.port, ref=BOX)
    assert code == 0, output
    assert containerd.complete()
    assert registry.pulls().count(made.layers[0]) == 1


def test_a_bit_that_flips_on_disk_is_fetched_anew(
    containerd: Containerd, mirror: Listener, registry: Registry, store: Store
) -> None:
    made = image(1_000_000)
    registry.add("library/box", "1", made)
    assert containerd.pull(mirror.port, ref=BOX)[0] == 0
    containerd.ctr("images", "rm", "--sync", BOX)
    path = store.path(made.layers[0])
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    code, output = containerd.pull(mirror.port, ref=BOX)
    assert code == 0, output
    assert registry.pulls().count(made.layers[0]) == 2


def test_mirrors_alone(containerd: Containerd, mirror: Listener, registry: Registry) -> None:
    """What the role writes with ``cache_fallback: false``: the registry itself is not asked."""
    registry.add("library/box", "1", image(100_000))
    url = f"http://127.0.0.1:{mirror.port}"
    directory = containerd.directory / "certs.d" / "_default"
    text = registries.hosts_toml([], {"url": url, "header": f"Bearer {TOKEN}"})
    for ref, wanted in ((BOX, True), ("docker.io/library/none:1", False)):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hosts.toml").write_text(text)
        done = containerd.ctr("images", "pull", "--hosts-dir", str(directory.parent), ref)
        assert (done.returncode == 0) is wanted, done.stderr
    assert "docker.io" not in done.stderr.replace("docker.io/library/none", "")


def test_slow_clients_and_memory(mirror: Listener, registry: Registry) -> None:
    """Clients that read nothing keep nobody else waiting, and no blob is held in memory."""
    made = image(15_000_000)
    registry.add("library/box", "1", made)
    digest = made.layers[0]
    request = (
        f"GET /v2/library/box/blobs/{digest}?ns=docker.io HTTP/1.1\r\n"
        f"Authorization: Bearer {TOKEN}\r\n\r\n"
    ).encode()
    slow = []
    for _ in range(20):
        one = socket.create_connection(("127.0.0.1", mirror.port), timeout=20)
        one.sendall(request)
        slow.append(one)
    heads = [one.recv(1000) for one in slow]
    assert all(head.startswith(b"HTTP/1.1 200") for head in heads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def read() -> None:
        with socket.create_connection(("127.0.0.1", mirror.port), timeout=20) as fast:
            fast.sendall(request.replace(b"1.1\r\n", b"1.1\r\nConnection: close\r\n", 1))
            size = 0
            while data := fast.recv(1 << 20):
                size += len(data)
        sizes.append(size)

    sizes: list[int] = []
    threads = [threading.Thread(target=read) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(sizes) == 5
    assert min(sizes) > len(made.blobs[digest])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < len(made.blobs[digest])
    for one in slow:
        one.close()
    assert json.loads(made.manifest)["layers"]
