"""The store: only whole, hashed blobs are ever visible, whatever happens to the writer."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.store import Ref, Store
from ohmykube.errors import IntegrityError, LockedError, NotFoundError
from ohmykube.kit import digest as digests
from ohmykube.model.artifact import Kind
from tests.fake_clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

HELLO = b"hello"
HELLO_DIGEST = digests.of_bytes(HELLO)


def ref(digest: str, name: str = "runc", kind: Kind = Kind.BINARY) -> Ref:
    return Ref(kind, name, "1.0.0", "amd64", digest, 5, "upstream")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def test_put_makes_a_read_only_blob_in_a_valid_layout(store: Store) -> None:
    assert store.put_bytes(HELLO) == HELLO_DIGEST
    path = store.path(HELLO_DIGEST)
    assert path == store.root / "oci/blobs/sha256" / HELLO_DIGEST[7:]
    assert path.read_bytes() == HELLO
    assert path.stat().st_mode & 0o777 == 0o444
    assert json.loads((store.layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert list(store.ingest.iterdir()) == []
    assert store.digests() == (HELLO_DIGEST,)


def test_an_untouched_store_is_empty_and_creates_nothing(store: Store) -> None:
    assert not store.has(HELLO_DIGEST)
    assert store.digests() == ()
    assert store.refs() == ()
    assert store.sweep() == 0
    assert not store.root.exists()
    with pytest.raises(NotFoundError):
        store.path(HELLO_DIGEST)


@pytest.mark.parametrize("digest", ["", "sha256:", "md5:" + "0" * 32, "sha256:../../etc", "x"])
def test_a_malformed_digest_is_a_bug_of_the_caller(store: Store, digest: str) -> None:
    with pytest.raises(ValueError, match="not a sha256 digest"):
        store.has(digest)


def test_counters_go_up_by_one_unless_told_otherwise(store: Store) -> None:
    store.put_bytes(HELLO)
    store.count("hits")
    store.count("hits")
    store.count("bytes_out", 7)
    (day,) = store.counters().values()
    assert day == {"hits": 2, "bytes_out": 7}


def test_put_file_copies_and_adopt_moves(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(HELLO)
    assert store.put_file(source, expected=HELLO_DIGEST) == (HELLO_DIGEST, 5)
    assert source.exists()
    part = store.ingest / "x.part"
    part.write_bytes(b"other")
    digest, size = store.adopt(part)
    assert (store.path(digest).read_bytes(), size) == (b"other", 5)
    assert not part.exists()


def test_a_wrong_digest_goes_to_quarantine(store: Store) -> None:
    with pytest.raises(IntegrityError) as caught:
        store.put_bytes(HELLO, expected="sha256:" + "0" * 64)
    assert caught.value.id == "OMK-I-103"
    assert HELLO_DIGEST in (caught.value.why or "")
    assert store.digests() == ()
    assert list(store.ingest.iterdir()) == []
    assert [p.read_bytes() for p in store.quarantine.iterdir()] == [HELLO]


def rot(store: Store, digest: str) -> None:
    path = store.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"hellO")


def test_verify_moves_a_rotten_blob_away_and_names_what_is_hit(store: Store) -> None:
    store.put_bytes(HELLO)
    store.set_ref(ref(HELLO_DIGEST))
    assert store.verify(HELLO_DIGEST) == 5
    rot(store, HELLO_DIGEST)
    with pytest.raises(IntegrityError, match=r"binary runc 1\.0\.0") as caught:
        store.verify(HELLO_DIGEST)
    assert caught.value.id == "OMK-I-102"
    assert not store.has(HELLO_DIGEST)
    assert store.ref(Kind.BINARY, "runc", "1.0.0", "amd64") is None
    assert len(list(store.quarantine.iterdir())) == 1


def test_a_put_heals_a_rotten_blob(store: Store) -> None:
    store.put_bytes(HELLO)
    rot(store, HELLO_DIGEST)
    store.put_bytes(HELLO)
    assert store.verify(HELLO_DIGEST) == 5


def test_refs_are_kept_replaced_and_dropped(store: Store) -> None:
    store.put_bytes(HELLO)
    other = store.put_bytes(b"other")
    store.set_ref(ref(HELLO_DIGEST))
    store.set_ref(ref(other))
    store.set_ref(ref(HELLO_DIGEST, "kubelet"))
    assert [(r.name, r.digest) for r in store.refs()] == [
        ("kubelet", HELLO_DIGEST),
        ("runc", other),
    ]
    store.drop_refs([ref(other)])
    store.drop_refs([ref(other)])
    assert [r.name for r in Store(store.root).refs()] == ["kubelet"]


def test_a_ref_to_nothing_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.set_ref(ref(HELLO_DIGEST))


def test_several_references_are_set_together_or_not_at_all(store: Store) -> None:
    store.put_bytes(HELLO)
    with pytest.raises(NotFoundError):
        store.set_refs([ref(HELLO_DIGEST), ref("sha256:" + "0" * 64, "kubelet")])
    assert store.refs() == ()
    store.set_refs([ref(HELLO_DIGEST), ref(HELLO_DIGEST, "kubelet")])
    assert [one.name for one in store.refs()] == ["kubelet", "runc"]


def test_images_are_listed_in_the_layouts_index(store: Store) -> None:
    manifest = json.dumps({"mediaType": "application/vnd.oci.image.manifest.v1+json"}).encode()
    digest = store.put_bytes(manifest)
    store.set_ref(ref(digest, "registry.example/a:1", Kind.IMAGE))
    store.set_ref(ref(digest, "runc"))
    index = json.loads((store.layout / "index.json").read_text())
    assert [(m["digest"], m["size"]) for m in index["manifests"]] == [(digest, len(manifest))]
    names = index["manifests"][0]["annotations"]
    assert names["org.opencontainers.image.ref.name"] == "registry.example/a:1"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1, "refs": [{"kind": "boat"}]}'])
def test_a_torn_list_of_refs_counts_as_empty_and_is_kept(store: Store, text: str) -> None:
    store.put_bytes(HELLO)
    (store.root / "refs.json").write_text(text)
    assert store.refs() == ()
    store.set_ref(ref(HELLO_DIGEST))
    assert [r.name for r in store.refs()] == ["runc"]
    if text:
        assert [p.read_text() for p in store.quarantine.glob("refs-*")] == [text]


def test_a_newer_schema_is_refused_and_left_alone(store: Store) -> None:
    store.put_bytes(HELLO)
    text = '{"schema": 99, "refs": []}'
    (store.root / "refs.json").write_text(text)
    for call in (store.refs, lambda: store.set_ref(ref(HELLO_DIGEST))):
        with pytest.raises(IntegrityError, match="newer ohmykube"):
            call()
    assert (store.root / "refs.json").read_text() == text


def test_holding_excludes_another_run_but_not_another_key(store: Store) -> None:
    with store.holding("https://example.test/a"):
        name = next(p for p in (store.root / "locks").iterdir() if "example" in p.name)
        with name.open() as stream, pytest.raises(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with store.holding("https://example.test/b"):
            pass
    with store.holding("https://example.test/a"):
        assert name.exists()


def test_holding_tells_whom_it_waits_for(store: Store) -> None:
    told: list[str] = []
    entered = threading.Event()
    release = threading.Event()

    def first() -> None:
        with store.holding("key", told.append):
            entered.set()
            release.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(30)

    def waiting(holder: str) -> None:
        told.append(holder)
        release.set()

    with store.holding("key", waiting):
        thread.join(30)
    assert len(told) == 1
    assert f"pid {os.getpid()}" in told[0]


def test_alone_waits_for_nobody(store: Store) -> None:
    clock = FakeClock()
    with store.using(), pytest.raises(LockedError), store.alone(clock=clock):
        pass
    assert clock.sleeps == [], "unless it is told to"
    with store.alone():
        pass


def test_an_error_inside_a_lock_is_not_rewritten(store: Store) -> None:
    with pytest.raises(PermissionError, match="mine"), store.holding("a"):
        raise PermissionError("mine")


def test_sweep_takes_dead_writers_and_old_parts_only(store: Store) -> None:
    store.put_bytes(HELLO)
    ages = {"put-dead": 100, "put-young": 1, "new.part": 3600, "old.part": 90000, "put-alive": 100}
    now = store.ingest.stat().st_mtime
    for name, age in ages.items():
        (store.ingest / name).write_bytes(b"12")
        os.utime(store.ingest / name, (now - age, now - age))
    with (store.ingest / "put-alive").open() as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        (store.ingest / "old.dir").mkdir()
        (store.ingest / "old.dir" / "x").write_bytes(b"1")
        os.utime(store.ingest / "old.dir", (now - 90000, now - 90000))
        assert store.sweep() == 5
    assert {p.name for p in store.ingest.iterdir()} == {"put-young", "new.part", "put-alive"}


WRITER = """
import sys
from pathlib import Path
from ohmykube.cache.store import Ref, Store
from ohmykube.model.artifact import Kind
store = Store(Path(sys.argv[1]))
print("go", flush=True)
for number in range(10**6):
    data = bytes([number % 251]) * (300_000 + number)
    digest = store.put_bytes(data)
    store.set_ref(Ref(Kind.BINARY, f"n{number % 7}", "1", "amd64", digest, len(data), "build"))
    print(number, flush=True)
"""


PUTTER = """
import sys
from pathlib import Path
from ohmykube.cache.store import Ref, Store
from ohmykube.model.artifact import Kind
store = Store(Path(sys.argv[1]))
for number in range(20):
    data = bytes([number]) * 100_000
    digest = store.put_bytes(data)
    name = f"{sys.argv[2]}-{number}"
    store.set_ref(Ref(Kind.BINARY, name, "1", "amd64", digest, len(data), "build"))
"""


def test_eight_writers_at_once_lose_nothing(store: Store) -> None:
    argv = [sys.executable, "-c", PUTTER, str(store.root)]
    writers = [Popen([*argv, str(number)]) for number in range(8)]
    assert [writer.wait(120) for writer in writers] == [0] * 8
    assert len(store.refs()) == 160
    assert [store.verify(digest) for digest in store.digests()] == [100_000] * 20
    assert list(store.ingest.iterdir()) == []


@pytest.mark.parametrize("seed", [0, 3, 7])
def test_kill_9_never_leaves_a_corrupt_blob_or_a_dangling_ref(store: Store, seed: int) -> None:
    """The writer dies after it reported ``seed`` puts, that is somewhere inside the next ones."""
    with Popen([sys.executable, "-c", WRITER, str(store.root)], stdout=PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(seed + 1):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    for digest in store.digests():
        store.verify(digest)
    refs = store.refs()
    assert len(refs) >= min(seed, 7)
    assert all(store.has(r.digest) for r in refs)
    with store.holding("n1"):
        store.put_bytes(HELLO)
    assert store.verify(HELLO_DIGEST) == 5
