"""The whole store against kill -9, a full disk, a read-only one, and eight cold runs at once."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import fsck
from ohmykube.cache.download import Downloader
from ohmykube.cache.prune import Policy, prune
from ohmykube.cache.registry_client import Reference, RegistryClient, Repository
from ohmykube.cache.store import Ref, Store
from ohmykube.cache.transport import Transport
from ohmykube.errors import OhmykubeError, PermissionDenied, ResourceError
from ohmykube.kit import digest as digests
from ohmykube.kit.files import TEMP_PREFIX
from ohmykube.model.artifact import Kind
from ohmykube.progress import NullReporter
from tests import image_maker
from tests.fault_server import Answer, FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = int(os.environ.get("OHMYKUBE_SEED", "20261123"))
KILLS = 200
IMAGES = [image_maker.image(300 + number, seed=number) for number in range(3)]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a file system")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def refer(store: Store, data: bytes, name: str) -> str:
    digest = store.put_bytes(data)
    store.set_ref(Ref(Kind.BINARY, name, "1", "amd64", digest, len(data), "build"))
    return digest


def child(action: Callable[[], None]) -> int:
    """Run ``action`` in a child of this process and return its id."""
    number = os.fork()
    if number == 0:
        code = 1
        try:
            action()
            code = 0
        except BaseException:  # noqa: BLE001 - told by the exit code
            traceback.print_exc()
        os._exit(code)
    return number


# -- kill -9 -------------------------------------------------------------------------------------


def work(root: Path, number: int, tell: Callable[[str, str], None]) -> None:
    """Do a bit of everything, and tell which references are there for good, or no more."""
    store = Store(root)
    chance = random.Random(number)
    image = IMAGES[number % len(IMAGES)]
    image.put(store)
    with store.lease("work", [image.digest]):
        name = f"app-{number % 5}"
        tell("-", f"reg/{name}")
        store.set_ref(Ref(Kind.IMAGE, f"reg/{name}", "1", "amd64", image.digest, 1, "load"))
        tell("+", f"reg/{name}")
        store.trusted(image.layers[0])
    for step in range(2):
        name = f"file-{chance.randrange(7)}"
        tell("-", name)
        refer(store, chance.randbytes(chance.randrange(1, 20_000)), name)
        if step:
            tell("+", name)
        else:
            store.drop_refs([next(ref for ref in store.refs() if ref.name == name)])
    store.count("hits", 1)
    prune(store, Policy(grace=0))
    if number % 4 == 0:
        store.rebuild()


def run_killed(root: Path, number: int, at: int | None) -> tuple[int, list[str]]:
    """Run ``work`` in a child that dies at its ``at``-th call of a C function; None counts them.

    Returns the number of calls, and what the child had told until then.
    """
    readable, writable = os.pipe()

    def action() -> None:
        calls = 0

        def profile(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            if event == "c_call":
                calls += 1
                if calls == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        def tell(sign: str, name: str) -> None:
            os.write(writable, f"{sign}{name}\n".encode())

        sys.setprofile(profile)
        work(root, number, tell)
        sys.setprofile(None)
        os.write(writable, f"={calls}\n".encode())

    number = child(action)
    os.close(writable)
    with os.fdopen(readable) as stream:
        lines = stream.read().splitlines()
    _, status = os.waitpid(number, 0)
    if at is None:
        assert os.waitstatus_to_exitcode(status) == 0
        return int(lines[-1][1:]), lines[:-1]
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return 0, lines


@pytest.fixture
def quick_store() -> Iterator[Store]:
    """Give a store in memory where that is possible: a killed process loses no page of it."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="omk-test-", dir=memory) as name:
        yield Store(Path(name) / "cache")


def test_kill_9_at_200_points_corrupts_no_blob_and_loses_no_reference(quick_store: Store) -> None:
    """Costs some 5 s of a processor: each of 200 children is profiled call by call until it dies,
    and after each of them every blob of the store is hashed anew.
    """
    store = quick_store
    print(f"OHMYKUBE_SEED={SEED}")  # noqa: T201 - shown when it fails
    chance = random.Random(SEED)
    calls, _ = run_killed(store.root, 0, None)
    sure = {ref.name for ref in store.refs()}
    died = 0
    for number in range(1, KILLS + 1):
        at = chance.randrange(1, calls)
        _, lines = run_killed(store.root, number, at)
        died += not (lines and lines[-1].startswith("="))
        for line in lines:
            if line[0] == "+":
                sure.add(line[1:])
            elif line[0] == "-":
                sure.discard(line[1:])
        where = f"seed {SEED}, run {number}, killed at call {at} of about {calls}"
        after = Store(store.root)
        refs = {ref.name: ref for ref in after.refs()}
        assert sure <= refs.keys(), where
        for ref in refs.values():
            assert after.has(ref.digest), where
        for digest in after.digests():
            assert after.locate(digest).hash() == digest, where
        assert after.leases() == (), where
        assert after.trouble == "", where
    assert died > KILLS * 0.8
    for digest in store.digests():
        assert store.trusted(digest).size == store.verify(digest)
    assert json.loads((store.layout / "index.json").read_text())["manifests"]
    old = (store.root / "refs.json").stat().st_mtime - 90_000
    for path in store.ingest.iterdir():
        os.utime(path, (old, old))
    store.sweep()
    assert list(store.ingest.iterdir()) == []
    aside = {path.name.partition("-")[0] for path in store.quarantine.glob("*")}
    assert aside <= {"index"}, "only indexes that were made anew"
    for path in store.root.rglob(f"{TEMP_PREFIX}*"):
        os.utime(path, (old, old))
    prune(store)
    assert list(store.root.rglob(f"{TEMP_PREFIX}*")) == []


# -- disks that are full or read-only ------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of one MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "tmpfs", str(place)]
    subprocess.run(argv, check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(path: Path, leave: int) -> None:
    free = os.statvfs(path.parent)
    path.write_bytes(bytes(free.f_bavail * free.f_bsize - leave))


@as_root
@pytest.mark.parametrize("leave", [0, 8_192, 65_536])
def test_no_space_leaves_nothing_half_made(small_disk: Path, leave: int) -> None:
    store = Store(small_disk / "cache")
    kept = refer(store, b"kept" * 1000, "kept")
    before = (store.root / "refs.json").read_bytes()
    filler = small_disk / "filler"
    fill(filler, leave)
    with pytest.raises(ResourceError, match="no space left"):
        store.put_bytes(random.Random(1).randbytes(200_000))
    assert store.digests() == (kept,)
    assert list(store.ingest.iterdir()) == []
    store.count("hits", 1)
    assert store.trusted(kept).size == 4000
    if leave == 0:
        with pytest.raises(ResourceError):
            store.set_ref(Ref(Kind.BINARY, "more", "1", "amd64", kept, 1, "x"))
        assert (store.root / "refs.json").read_bytes() == before
        store.discard(kept)  # a full disk keeps nobody from cleaning up
        refer_again = Store(store.root)
        refer_again.put_bytes(b"kept" * 1000)
    filler.unlink()
    again = Store(store.root)
    again.set_ref(Ref(Kind.BINARY, "more", "1", "amd64", kept, 1, "x"))
    assert [ref.name for ref in again.refs()] == ["kept", "more"]
    assert again.verify(kept) == 4000


@as_root
def test_a_read_only_file_system_serves_and_says_what_it_cannot(small_disk: Path) -> None:
    store = Store(small_disk / "cache")
    kept = refer(store, b"kept", "kept")
    store.count("hits", 1)
    store._index._close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    read_only = Store(store.root)
    with read_only.using(), read_only.lease("me", [kept]):
        assert read_only.trusted(kept).size == 4
        assert [ref.name for ref in read_only.refs()] == ["kept"]
        read_only.count("hits", 1)
    for call in (
        lambda: read_only.put_bytes(b"more"),
        lambda: read_only.drop_refs([read_only.refs()[0]]),
        lambda: read_only.holding("key").__enter__(),
        lambda: prune(read_only),
    ):
        with pytest.raises(PermissionDenied, match="cannot write"):
            call()
    assert read_only.has(kept)
    assert not read_only.trouble, "the index can be read"
    assert read_only.counters()
    assert fsck.check(read_only) == ()


def test_a_damaged_blob_where_nothing_can_be_moved_is_still_refused(store: Store) -> None:
    kept = refer(store, b"kept", "kept")
    path = store.path(kept)
    path.chmod(0o644)
    path.write_bytes(b"kepT")
    original = store._pool.isolate

    def isolate(_path: Path, _digest: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    store._pool.isolate = isolate  # type: ignore[method-assign]
    with pytest.raises((OhmykubeError, OSError)):
        store.trusted(kept)
    store._pool.isolate = original  # type: ignore[method-assign]


# -- eight at once -------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FaultServer:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return FaultServer()  # it listens, and answers once a test enters it


def eight(server: FaultServer, action: Callable[[], None]) -> list[int]:
    """Run ``action`` in eight children at once against the server; return their exit codes.

    They are forked before its threads run: a child keeps the locks that others hold, for ever.
    """
    children = [child(action) for _ in range(8)]
    with server:
        return [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in children]


def test_eight_cold_runs_fetch_each_url_once(store: Store, server: FaultServer) -> None:
    bodies = {f"/f{number}": random.Random(number).randbytes(300_000) for number in range(5)}
    urls = {server.on(path, Answer(body=body)): digests.of_bytes(body)
            for path, body in bodies.items()}  # fmt: skip

    def fetch() -> None:
        mine = Store(store.root)
        downloader = Downloader(mine, NullReporter(), Transport())
        order = sorted(urls)
        random.Random(os.getpid()).shuffle(order)
        for url in order:
            path = downloader.fetch(url, urls[url])
            assert digests.of_file(path) == urls[url]
            mine.set_ref(
                Ref(Kind.BINARY, f"{os.getpid()}{url[-3:]}", "1", "amd64", urls[url], 1, "x")
            )

    assert eight(server, fetch) == [0] * 8
    assert {path: server.count[path] for path in bodies} == dict.fromkeys(bodies, 1)
    assert len(store.refs()) == 40
    sums = list(store.counters().values())
    total = {name: sum(day.get(name, 0) for day in sums) for name in sums[0]}
    assert total == {
        "hits": 35,
        "misses": 5,
        "bytes_in": 1_500_000,
        "bytes_saved": 10_500_000,
    }


def test_eight_cold_pulls_of_an_image_fetch_each_blob_once(
    store: Store, server: FaultServer, tmp_path: Path
) -> None:
    image = image_maker.image(50_000, 400_000, 900_000)
    for name in ("1", image.digest):
        server.on(f"/v2/app/manifests/{name}", Answer(image.manifest))
    blobs = {f"/v2/app/blobs/{digest}": data for digest, data in image.blobs.items()}
    for path, data in blobs.items():
        server.on(path, Answer(data))

    def pull() -> None:
        downloader = Downloader(Store(store.root), NullReporter(), Transport())
        client = RegistryClient(downloader, tmp_path / "config.json")
        repository = Repository(server.url, "app")
        assert client.pull(Reference("reg.test", "app", "1"), "amd64", at=repository)

    assert eight(server, pull) == [0] * 8
    assert {path: server.count[path] for path in blobs} == dict.fromkeys(blobs, 1)
    assert set(store.digests()) == {image.digest, *image.blobs}
