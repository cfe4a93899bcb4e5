"""Pruning: what is referred to stays, with all that it leads to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.prune import Pruned, prune
from ohmykube.cache.store import Ref, Store
from ohmykube.errors import LockedError
from ohmykube.model.artifact import Kind
from tests import image_maker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def age(store: Store, seconds: int = 90_000) -> None:
    for path in [*(store.layout / "blobs/sha256").iterdir(), *store.ingest.iterdir()]:
        past = path.stat().st_mtime - seconds
        os.utime(path, (past, past))


def refer(store: Store, kind: Kind, digest: str) -> None:
    store.set_ref(Ref(kind, f"{kind}-x", "1", "amd64", digest, 1, "build"))


def test_only_what_nothing_leads_to_goes(store: Store) -> None:
    image = image_maker.image(1000, 2000)
    lost = image_maker.image(500, seed=9)
    kept = image_maker.image(700, seed=5)
    for made in (image, lost, kept):
        made.put(store)
    package, binary, junk = (store.put_bytes(d) for d in (b"package", b"binary", b"junk"))
    refer(store, Kind.IMAGE, image.digest)
    refer(store, Kind.PACKAGE, package)
    refer(store, Kind.BINARY, binary)
    (store.ingest / "x.part").write_bytes(b"12345")
    store.quarantine.mkdir()
    (store.quarantine / "bad").write_bytes(b"123")
    age(store)
    young = store.put_bytes(b"young")
    done = prune(store, keep=(kept.digest, binary))
    wanted = {package, binary, young, image.digest, kept.digest, *image.blobs, *kept.blobs}
    assert set(store.digests()) == wanted
    lost_bytes = len(lost.manifest) + sum(map(len, lost.blobs.values()))
    assert done == Pruned(len(lost.blobs) + 2, lost_bytes + len(b"junk"), 8)
    assert done.freed == lost_bytes + 12
    assert junk not in wanted
    assert prune(store) != done
    assert prune(store) == Pruned(0, 0, 0)


def test_nothing_goes_while_the_cache_is_used(store: Store) -> None:
    junk = store.put_bytes(b"junk")
    age(store)
    with store.holding("a fetch"), pytest.raises(LockedError):
        prune(store)
    assert store.has(junk)
    assert prune(store, older_than=0).blobs == 1


def test_a_damaged_manifest_leads_nowhere_and_stops_nothing(store: Store) -> None:
    image = image_maker.image(1000)
    image.put(store)
    refer(store, Kind.IMAGE, image.digest)
    path = store.path(image.digest)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    age(store)
    assert prune(store).blobs == len(image.blobs)


def test_directories_in_quarantine_go_too(store: Store) -> None:
    store.put_bytes(b"x")
    (store.quarantine / "d").mkdir(parents=True)
    (store.quarantine / "d" / "f").write_bytes(b"1")
    prune(store)
    assert list(store.quarantine.iterdir()) == []


def test_an_empty_store_has_nothing_to_prune(store: Store) -> None:
    assert prune(store) == Pruned(0, 0, 0)
