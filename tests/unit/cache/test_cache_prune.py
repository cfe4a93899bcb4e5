"""Pruning: what is needed stays with all that it leads to, the rest goes in a fixed order."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import unfinished_files
from ohmykube.cache.prune import (
    BUDGET_BYTES,
    Class,
    Policy,
    Pruned,
    prune,
)
from ohmykube.cache.reachability import Reachability
from ohmykube.cache.store import Ref, Store
from ohmykube.errors import LockedError, NotFoundError
from ohmykube.kit import files
from ohmykube.model.artifact import Kind
from tests import image_maker
from tests.fake_clock import FakeClock

if TYPE_CHECKING:
    from ohmykube.cache.blobs import Blob

LARGE = 1 << 60


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def age(store: Store, seconds: int = 90_000) -> None:
    for path in [*(store.layout / "blobs/sha256").iterdir(), *store.ingest.iterdir()]:
        past = path.stat().st_mtime - seconds
        os.utime(path, (past, past))


def refer(store: Store, kind: Kind, digest: str, name: str = "", **more: object) -> Ref:
    ref = Ref(kind, name or f"{kind}-x", "1", "amd64", digest, 1, "build")
    ref = replace(ref, **more)  # type: ignore[arg-type]
    store.set_ref(ref)
    return ref


def freed(done: Pruned) -> dict[str, tuple[int, int]]:
    return {str(one.kind): (one.items, one.size) for one in done.classes if one.items}


def names(store: Store) -> list[str]:
    return [ref.name for ref in store.refs()]


def test_only_what_nothing_leads_to_goes_by_default(store: Store) -> None:
    image = image_maker.image(1000, 2000)
    lost = image_maker.image(500, seed=9)
    kept = image_maker.image(700, seed=5)
    for made in (image, lost, kept):
        made.put(store)
    package, binary, junk = (store.put_bytes(d) for d in (b"package", b"binary", b"junk"))
    refer(store, Kind.IMAGE, image.digest)
    refer(store, Kind.PACKAGE, package)
    refer(store, Kind.BINARY, binary)
    age(store)
    young = store.put_bytes(b"young")
    done = prune(store, keep=(kept.digest, binary))
    wanted = {package, binary, young, image.digest, kept.digest, *image.blobs, *kept.blobs}
    assert set(store.digests()) == wanted
    lost_bytes = len(lost.manifest) + sum(map(len, lost.blobs.values()))
    assert freed(done) == {"unreferenced": (len(lost.blobs) + 2, lost_bytes + len(b"junk"))}
    assert (done.freed, done.young_bytes, done.refs) == (lost_bytes + 4, 5, ())
    assert 0 < done.budget <= BUDGET_BYTES
    assert junk not in wanted
    assert prune(store, keep=(kept.digest, binary)).freed == 0


def test_leftovers_go_by_age(store: Store) -> None:
    store.put_bytes(b"x")
    day = 24 * 3600
    files = {
        "build/work-1/deep/file": 0,
        "build/note": 0,
        "ingest/new.part": day - 60,
        "ingest/old.part": day + 60,
        "quarantine/new": 6 * day,
        "quarantine/old/file": 0,
        "quarantine/older": 8 * day,
    }
    for name, seconds in files.items():
        path = store.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"123")
        os.utime(path, (time.time() - seconds,) * 2)
    os.utime(store.quarantine / "old", (time.time() - 8 * day,) * 2)
    wanted = {"work": (2, 6), "partial": (1, 3), "quarantine": (2, 6)}
    assert freed(prune(store, dry_run=True)) == wanted
    assert all((store.root / name).exists() for name in files)
    assert freed(prune(store)) == wanted
    left = {name for name in files if (store.root / name).exists()}
    assert left == {"ingest/new.part", "quarantine/new"}
    done = prune(store, Policy(everything=True))
    assert freed(done) == {"partial": (1, 3), "quarantine": (1, 3)}


def test_the_budget_takes_binaries_first_then_the_longest_unused(store: Store) -> None:
    for number, (kind, name) in enumerate(
        [(Kind.PACKAGE, "old"), (Kind.FILE, "new"), (Kind.BINARY, "newest")]
    ):
        digest = store.put_bytes(bytes([number]) * 100)
        refer(store, kind, digest, name, added_at=1000.0 + number)
    age(store)
    for limit, left, classes in (
        (300, ["newest", "new", "old"], {}),
        (299, ["new", "old"], {"intermediate": (1, 100)}),
        (100, ["new"], {"unused": (1, 100)}),
        (0, [], {"unused": (1, 100)}),
    ):
        plan = prune(store, Policy(max_bytes=limit), dry_run=True)
        done = prune(store, Policy(max_bytes=limit))
        assert done == plan
        assert (names(store), freed(done)) == (left, classes), limit
    assert store.digests() == ()


def test_what_was_used_lately_outlives_what_came_lately(store: Store) -> None:
    for name in ("used", "unused"):
        refer(store, Kind.FILE, store.put_bytes(name.encode() * 10), name, added_at=1000.0)
    assert store.ref(Kind.FILE, "used", "1", "amd64") is not None
    age(store)
    prune(store, Policy(max_bytes=50))
    assert names(store) == ["used"]


def test_pins_leases_and_kept_digests_stay_whatever_is_asked(store: Store) -> None:
    image = image_maker.image(1000, 2000)
    image.put(store)
    refer(store, Kind.IMAGE, image.digest, "leased:1")
    pinned, kept, loose = (store.put_bytes(d) for d in (b"pinned", b"kept", b"loose"))
    refer(store, Kind.FILE, pinned, "pinned", pinned=True)
    refer(store, Kind.PACKAGE, kept, "kept")
    refer(store, Kind.PACKAGE, loose, "loose")
    age(store)
    policy = Policy(everything=True, max_bytes=0, older_than=0, keep_k8s=0)
    with store.lease("cluster dev", [image.digest]):
        done = prune(store, policy, keep=[kept])
    assert [ref.name for ref in done.refs] == ["loose"]
    assert set(store.digests()) == {pinned, kept, image.digest, *image.blobs}
    assert [ref.name for ref in prune(store, policy).refs] == ["leased:1", "kept"]


def test_a_blob_that_two_references_share_goes_with_the_second(store: Store) -> None:
    shared = store.put_bytes(b"shared")
    refer(store, Kind.BINARY, shared, "binary")
    refer(store, Kind.FILE, shared, "file")
    age(store)
    done = prune(store, Policy(max_bytes=5))
    assert (len(done.refs), store.digests()) == (2, ())
    assert freed(done) == {"unused": (1, 6)}


def test_old_and_unused_go_by_age_of_use(store: Store) -> None:
    now = time.time()
    for name, seconds in (("young", 100.0), ("old", 10_000.0)):
        digest = store.put_bytes(name.encode())
        refer(store, Kind.FILE, digest, name, added_at=now - seconds)
    age(store)
    prune(store, Policy(older_than=5000, max_bytes=LARGE))
    assert names(store) == ["young"]


def test_a_list_that_tells_no_time_goes_by_the_age_of_the_blob(store: Store) -> None:
    refer(store, Kind.FILE, store.put_bytes(b"x"), "x")
    path = store.root / "refs.json"
    path.write_text(path.read_text().replace('"added_at": ', '"added_at": 0, "was": '))
    assert store.refs()[0].added_at == 0
    assert prune(store, Policy(older_than=5000, max_bytes=LARGE)).refs == ()
    age(store)
    assert len(prune(store, Policy(older_than=5000, max_bytes=LARGE)).refs) == 1


def test_old_releases_go_and_what_newer_ones_share_stays(store: Store) -> None:
    wanted = {
        (Kind.PACKAGE, "kubeadm", "1.35.4"): False,
        (Kind.PACKAGE, "kubeadm", "1.36.3"): True,
        (Kind.PACKAGE, "kubeadm", "1.37.2"): True,
        (Kind.PACKAGE, "kubeadm", "0.1.x"): False,
        (Kind.PACKAGE, "containerd", "containerd-2.3.4"): True,
        (Kind.BINARY, "kubelet", "v1.35.4"): False,
        (Kind.BINARY, "kubelet", "v1.36.3"): True,
        (Kind.BINARY, "runc", "v1.4.3"): True,
        (Kind.IMAGE, "registry.k8s.io/kube-proxy:v1.35.4", "v1.35.4"): False,
        (Kind.IMAGE, "registry.k8s.io/kube-proxy:v1.36.3", "v1.36.3"): True,
        (Kind.IMAGE, "registry.k8s.io/pause:3.10.2", "3.10.2"): True,
        (Kind.IMAGE, "registry.example/mine:v1.35.4", "v1.35.4"): True,
    }
    for number, (kind, name, version) in enumerate(wanted):
        digest = store.put_bytes(b"%d" % number)
        store.set_ref(Ref(kind, name, version, "amd64", digest, 1, "build"))
    prune(store, Policy(keep_k8s=2, max_bytes=LARGE))
    left = {(ref.kind, ref.name, ref.version) for ref in store.refs()}
    assert left == {part for part, stays in wanted.items() if stays}
    prune(store, Policy(keep_k8s=9, max_bytes=LARGE))
    assert len(store.refs()) == len(left)


def test_nothing_goes_while_the_cache_is_used(store: Store) -> None:
    junk = store.put_bytes(b"junk")
    age(store)
    with store.holding("a fetch"):
        with pytest.raises(LockedError):
            prune(store, clock=FakeClock())
        assert prune(store, dry_run=True).freed == 4
    assert store.has(junk)
    assert prune(store).freed == 4


def test_a_damaged_manifest_leads_nowhere_and_stops_nothing(store: Store) -> None:
    image = image_maker.image(1000)
    image.put(store)
    refer(store, Kind.IMAGE, image.digest)
    path = store.path(image.digest)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    age(store)
    assert freed(prune(store))["unreferenced"][0] == len(image.blobs)


def test_a_blob_from_the_future_counts_as_young(store: Store) -> None:
    junk = store.put_bytes(b"junk")
    age(store, -90_000)
    assert prune(store).young_bytes == 4
    assert store.has(junk)


def test_an_empty_store_has_nothing_to_prune(store: Store) -> None:
    done = prune(store, Policy(everything=True))
    assert (done.freed, done.kept_bytes, done.refs) == (0, 0, ())
    assert [one.kind for one in done.classes] == list(Class)


def test_sizes_of_what_vanishes_are_nothing(tmp_path: Path) -> None:
    assert unfinished_files.size_of(tmp_path / "gone") == 0
    assert unfinished_files.remove(tmp_path / "gone") == 0
    (tmp_path / "link").symlink_to("/etc")
    assert unfinished_files.size_of(tmp_path / "link") == len("/etc")


def test_a_file_that_is_finished_meanwhile_is_no_leftover(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to("nowhere")
    assert unfinished_files.leftovers(tmp_path) == []


def test_half_written_lists_go_when_they_are_old(store: Store) -> None:
    store.put_bytes(b"x")
    old, new = (store.root / f"{files.TEMP_PREFIX}{name}" for name in ("old", "new"))
    for path in (old, new, store.layout / old.name):
        path.write_text("{")
    (store.root / f"{files.TEMP_PREFIX}gone").symlink_to("nowhere")
    os.utime(old, (1, 1))
    assert freed(prune(store)) == {"partial": (1, 1)}
    assert (old.exists(), new.exists()) == (False, True)


def test_half_written_files_go_wherever_files_are_replaced(store: Store, tmp_path: Path) -> None:
    store.put_bytes(b"x")
    (tmp_path / "bundle").write_bytes(b"x")
    store.attach(tmp_path / "bundle", {})
    places = [store.root, store.layout, store.root / "attached", store.root / "locks"]
    for place in places:
        path = place / f"{files.TEMP_PREFIX}old"
        path.write_text("{")
        os.utime(path, (1, 1))
    assert freed(prune(store)) == {"partial": (4, 4)}
    assert list(store.root.rglob(f"{files.TEMP_PREFIX}*")) == []


@pytest.mark.parametrize("name", ["build", "ingest", "quarantine"])
def test_what_a_strangers_link_leads_to_stays(
    store: Store, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_bytes(b"x")
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "thesis").write_text("years")
    os.utime(documents / "thesis", (1, 1))
    if (store.root / name).is_dir():
        (store.root / name).rmdir()
    (store.root / name).symlink_to(documents)
    monkeypatch.setattr(files, "is_strangers_link", lambda path: path == store.root / name)
    prune(store, Policy(everything=True))
    assert (documents / "thesis").exists()
    if os.geteuid() == 0:
        os.lchown(store.root / name, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(LockedError) as caught:
        unfinished_files.remove(store.root / name / "thesis")
    assert caught.value.id == "OMK-I-311"
    assert (documents / "thesis").exists()


def test_a_directory_that_is_exchanged_for_a_link_meanwhile(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member of a shared cache swaps it after it was looked at, before anything is removed."""
    documents = tmp_path / "documents"
    for place in (documents, store.root / "build"):
        (place / "work").mkdir(parents=True)
        (place / "work" / "thesis").write_text("years")
    size_of = unfinished_files.size_of

    def swapped(path: Path) -> int:
        size = size_of(path)
        if path.name == "work":  # not for what is below it
            (store.root / "build").rename(tmp_path / "moved")
            (store.root / "build").symlink_to(documents)
        return size

    monkeypatch.setattr(unfinished_files, "size_of", swapped)
    unfinished_files.remove(store.root / "build" / "work")
    assert (documents / "work" / "thesis").read_text() == "years"
    assert not (tmp_path / "moved" / "work").exists(), "the one that was meant is gone"


def test_a_directory_behind_a_link_of_our_own_is_cleared(store: Store, tmp_path: Path) -> None:
    other_disk = tmp_path / "disk"
    other_disk.mkdir()
    (other_disk / "old").write_text("12345")
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / "build").symlink_to(Path("..") / other_disk.relative_to(store.root.parent))
    assert unfinished_files.remove(store.root / "build" / "old") == 5
    assert not (other_disk / "old").exists()
    assert unfinished_files.remove(store.root / "build" / "old") == 0
    assert unfinished_files.remove(store.root / "none" / "old") == 0


def test_a_manifest_that_came_after_the_first_look_keeps_its_layers(store: Store) -> None:
    image = image_maker.image(1000)
    for data in image.blobs.values():
        store.put_bytes(data)
    reach = Reachability(store)
    with store.lease("up", [image.digest]):
        assert reach.below(image.digest) == {image.digest}
        store.put_bytes(image.manifest)
        assert reach.below(image.digest) == {image.digest, *image.blobs}


def test_a_blob_that_goes_while_prune_looks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (store.put_bytes(data) for data in (b"1", b"2", b"3"))
    real, locate = Store.digests, Store.locate

    def digests(self: Store) -> tuple[str, ...]:
        found = real(self)
        self.discard(first)
        return found

    def located(self: Store, digest: str) -> Blob:
        blob = locate(self, digest)
        if digest == second:
            self.discard(second)
        return blob

    monkeypatch.setattr(Store, "digests", digests)
    monkeypatch.setattr(Store, "locate", located)
    prune(store, Policy(everything=True), dry_run=True)
    monkeypatch.undo()
    assert store.digests() == (third,)


@pytest.mark.parametrize("how", ["trusted", "verify"])
def test_a_blob_that_goes_while_it_is_looked_at_is_not_there(
    store: Store, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    digest = store.put_bytes(b"1")
    locate = Store.locate

    def located(self: Store, digest: str) -> Blob:
        blob = locate(self, digest)
        self.discard(digest)
        return blob

    monkeypatch.setattr(Store, "locate", located)
    with pytest.raises(NotFoundError) as caught:
        getattr(store, how)(digest)
    assert caught.value.id == "OMK-I-101"


def test_a_pipe_in_the_place_of_a_put_holds_nobody_up(store: Store) -> None:
    store.put_bytes(b"x")
    pipe = store.ingest / f"{unfinished_files.PUT_PREFIX}x"
    os.mkfifo(pipe)
    os.utime(pipe, (time.time() - 600,) * 2)
    assert unfinished_files.leftovers(store.ingest) == []
    assert unfinished_files.leftovers(store.ingest, 60) == [pipe]


def test_a_place_that_is_no_directory_is_told_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        unfinished_files.remove(tmp_path / "file" / "below")
