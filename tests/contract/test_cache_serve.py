"""A real containerd pulls from our server: what the registry contract is worth."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.serve import Server
from ohmykube.cache.store import Store
from ohmykube.model.artifact import Kind
from tests import image_maker
from tests.contract.own_containerd import REF, TOKEN
from tests.contract.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.contract.own_containerd import Containerd

pytestmark = pytest.mark.nodes


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
