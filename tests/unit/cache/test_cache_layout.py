"""Who may use a cache directory: one user, a group, somebody who may only read."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import time
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.layout import HOLD_SECONDS, Layout
from ohmykube.cache.prune import Policy, prune
from ohmykube.cache.refs import SCHEMA
from ohmykube.cache.store import Ref, Signature, Store
from ohmykube.errors import (
    IntegrityError,
    LockedError,
    NotFoundError,
    OhmykubeError,
    PrerequisiteError,
)
from ohmykube.kit import digest as digests
from ohmykube.kit import files, locks
from ohmykube.model.artifact import Kind
from tests import image_maker
from tests.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    AsUser = Callable[[Callable[[Store], object]], object]

HELLO = digests.of_bytes(b"hello")
ORDINARY, GROUP = 65534, 4321
as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not hasattr(os, "setresuid"), reason="needs root to become another user"
)


def ref(digest: str, name: str = "runc", **more: object) -> Ref:
    return Ref(Kind.BINARY, name, "1", "amd64", digest, 5, "upstream", **more)  # type: ignore[arg-type]


@pytest.fixture
def store(public: Path) -> Store:
    return Store(public / "cache")


@pytest.fixture
def as_user(public: Path) -> AsUser:
    """Return what calls a function as an ordinary user of the group."""

    def call(action: Callable[[Store], object]) -> object:
        groups, umask = os.getgroups(), os.umask(0o022)
        os.setgroups([])
        os.setresgid(GROUP, GROUP, 0)
        os.setresuid(ORDINARY, ORDINARY, 0)
        try:
            return action(Store(public / "cache"))
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
            os.setgroups(groups)
            os.umask(umask)

    return call


def refused(action: Callable[[], object]) -> tuple[str, str, str]:
    with pytest.raises(OhmykubeError) as caught:
        action()
    return caught.value.id, caught.value.why or "", caught.value.hint or ""


def shared(root: Path) -> None:
    root.mkdir()
    os.chown(root, -1, GROUP)
    root.chmod(0o2770)


# -- rights --------------------------------------------------------------------------------------


def test_a_cache_is_private_by_default(store: Store) -> None:
    store.put_bytes(b"hello")
    store.set_ref(ref(HELLO))
    store.count("hits", 1)
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
    for name in ("refs.json", "index.db", "locks/users.lock"):
        assert stat.S_IMODE((store.root / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((store.layout / "index.json").stat().st_mode) == 0o644


@as_root
def test_a_group_shares_a_directory_that_it_may_write(store: Store) -> None:
    shared(store.root)
    store.put_bytes(b"hello")
    store.set_ref(ref(HELLO))
    store.count("hits", 1)
    with store.holding("x"), store.lease("me", [HELLO]):
        for path in store.root.rglob("*"):
            status = path.stat()
            assert status.st_gid == GROUP, path
            wanted = 0o2770 if path.is_dir() else 0o660
            if path.parent.name == "sha256":
                wanted = 0o444
            elif path.name in ("CACHEDIR.TAG", "oci-layout", "index.json"):
                wanted = 0o664
            assert stat.S_IMODE(status.st_mode) == wanted, path


@as_root
def test_root_and_an_ordinary_user_work_in_one_cache(store: Store, as_user: AsUser) -> None:
    shared(store.root)
    store.put_bytes(b"hello")
    store.set_ref(ref(HELLO))
    theirs = digests.of_bytes(b"theirs")
    part = store.partial(theirs)
    part.write_bytes(b"the")
    part.chmod(0o644)

    def work(store: Store) -> object:
        digest = store.put_bytes(b"theirs")
        store.set_ref(ref(digest, "crun"))
        other = store.partial(digest)
        other.write_bytes(b"theirs")
        store.adopt(other)
        with store.holding("fetch"), store.lease("user", [digest]):
            found = store.ref(Kind.BINARY, "runc", "1", "amd64")
            assert found is not None
            return [other.name, found.name, store.trusted(HELLO).size, store.trouble]

    assert as_user(work) == [f"{theirs[7:]}-{ORDINARY}.part", "runc", 5, ""]
    with store.holding("fetch"):
        assert [one.name for one in store.refs()] == ["crun", "runc"]
    assert store.trusted(theirs).size == 6
    assert store.path(theirs).stat().st_uid == ORDINARY


@as_root
def test_what_another_user_left_can_be_adopted_and_pruned(store: Store, as_user: AsUser) -> None:
    shared(store.root)
    store.put_bytes(b"hello")
    mine = store.ingest / "mine.part"
    mine.write_bytes(b"from root")
    dead = store.ingest / "put-dead"
    dead.touch(0o600)
    os.utime(dead, (time.time() - 100, time.time() - 100))
    assert as_user(lambda store: [store.adopt(mine)[1], store.sweep()]) == [9, 0]
    assert not mine.exists()
    assert store.path(digests.of_bytes(b"from root")).stat().st_uid == ORDINARY
    assert dead.exists(), "nobody but its owner can see whether its writer lives"
    policy = Policy(everything=True, grace=0)
    assert as_user(lambda store: prune(store, policy).kept_bytes) == 0
    assert store.digests() == ()


@as_root
def test_who_may_not_use_a_cache_is_told_how_to(store: Store, as_user: AsUser) -> None:
    store.put_bytes(b"hello")
    store.set_ref(ref(HELLO))
    calls: tuple[Callable[[Store], object], ...] = (
        lambda store: store.has(HELLO),
        lambda store: store.refs(),
        lambda store: store.digests(),
        lambda store: store.put_bytes(b""),
        lambda store: store.leases(),
        lambda store: store.attached(),
    )
    for call in calls:
        id, _why, hint = as_user(lambda store, call=call: refused(lambda: call(store)))  # type: ignore[misc]
        assert id == "OMK-I-303"
        assert "chgrp -R GROUP" in hint
    store.root.chmod(0o755)
    id, why, _hint = as_user(lambda store: refused(store.refs))  # type: ignore[misc]
    assert id == "OMK-I-303"
    assert "refs.json" in why


def make_read_only(store: Store) -> None:
    for path in (store.root, *store.root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o444)


@as_root
def test_a_cache_that_may_only_be_read_serves(store: Store, as_user: AsUser) -> None:
    store.put_bytes(b"hello")
    store.set_ref(ref(HELLO))
    store.count("hits", 3)
    make_read_only(store)

    def read(store: Store) -> object:
        with store.using(), store.lease("me", [HELLO]):
            found = [
                store.trusted(HELLO).size,
                [r.name for r in store.refs()],
                list(store.leases()),
            ]
        store.count("hits", 1)
        return [*found, refused(lambda: store.put_bytes(b"x"))[0]]

    assert as_user(read) == [5, ["runc"], [], "OMK-H-009"]
    for name in ("users.lock", "flock-works"):
        (store.root / "locks" / name).unlink()

    def unlocked(store: Store) -> object:
        with store.using():
            return store.path(HELLO).name

    assert as_user(unlocked) == HELLO[7:]
    shutil.rmtree(store.root / "locks")
    shutil.rmtree(store.ingest)
    assert as_user(unlocked) == HELLO[7:]


@as_root
@pytest.mark.parametrize("name", ["users.lock", "flock-works"])
def test_a_lock_that_may_not_even_be_read_is_refused(
    store: Store, as_user: AsUser, name: str
) -> None:
    store.put_bytes(b"hello")
    with store.using():
        pass
    make_read_only(store)
    (store.root / "locks" / name).chmod(0o600)

    def enter(store: Store) -> object:
        if name == "users.lock":
            return refused(lambda: store.using().__enter__())[0]
        return refused(lambda: store.put_bytes(b""))[0]

    assert as_user(enter) == "OMK-I-303"


@as_root
def test_an_index_out_of_reach_is_no_reason_to_fail(store: Store, as_user: AsUser) -> None:
    store.put_bytes(b"hello")

    def count(store: Store) -> object:
        store.count("hits", 2)
        return [store.trouble != "", [day["hits"] for day in store.counters().values()]]

    assert as_user(count) == [True, [2]]
    store.root.chmod(0o777)
    assert as_user(count) == [True, [2]]


# -- locks ---------------------------------------------------------------------------------------


def test_a_file_system_without_locks_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cache", excludes=lambda _path: False)
    with pytest.raises(PrerequisiteError, match="locks") as caught:
        layout.prepare()
    assert caught.value.id == "OMK-I-304"
    assert "two processes got the same lock" in (caught.value.why or "")
    assert not (layout.oci / "oci-layout").exists()
    with pytest.raises(PrerequisiteError), layout.using():
        pass


def test_a_file_system_that_refuses_flock_is_named(tmp_path: Path) -> None:
    def refuse(_path: Path) -> bool:
        raise OSError(95, "Operation not supported")

    with pytest.raises(PrerequisiteError) as caught:
        Layout(tmp_path, excludes=refuse).prepare()
    assert "Operation not supported" in (caught.value.why or "")


def test_two_processes_are_asked_once_for_each_file_system(tmp_path: Path) -> None:
    asked: list[Path] = []

    def excludes(path: Path) -> bool:
        asked.append(path)
        return locks.another_is_kept_out(path)

    for _ in range(2):
        layout = Layout(tmp_path / "cache", excludes)
        layout.prepare()
        layout.prepare()
    assert len(asked) == 1
    (layout.locks / "flock-works").write_text("another device")
    Layout(tmp_path / "cache", excludes).prepare()
    assert len(asked) == 2


def test_the_probe_sees_a_lock_that_nobody_holds(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    assert not locks.another_is_kept_out(path)


def test_holding_waits_without_a_word_when_nobody_listens(tmp_path: Path) -> None:
    tried: list[float] = []

    class Held(Layout):
        def exclusive(self, name: str, what: str, seconds: float) -> AbstractContextManager[int]:
            tried.append(seconds)
            if len(tried) == 1:
                raise LockedError("held")
            return super().exclusive(name, what, seconds)

    with Held(tmp_path / "cache").holding("key"):
        assert tried == [0.0, HOLD_SECONDS]


def test_alone_waits_as_long_as_it_is_told(store: Store) -> None:
    user = store.using()
    user.__enter__()
    with store.alone(5.0, FakeClock(meanwhile=lambda: user.__exit__(None, None, None))):
        pass
    with store.lease("cluster dev", []), store.using():
        clock = FakeClock()
        with pytest.raises(LockedError) as caught, store.alone(5.0, clock):
            pass
    assert clock.time >= 5.0
    assert caught.value.why == f"cluster dev, pid {os.getpid()}"


# -- references ----------------------------------------------------------------------------------


def test_the_first_schema_is_read_and_written_anew(store: Store) -> None:
    store.put_bytes(b"hello")
    entry = {"kind": "binary", "name": "runc", "version": "1", "arch": "amd64", "digest": HELLO,
             "size": 5, "source": "build", "url": "u", "content_digest": ""}  # fmt: skip
    path = store.root / "refs.json"
    path.write_text(json.dumps({"schema": 1, "refs": [{**entry, "unknown": 1}]}))
    (found,) = store.refs()
    assert (found.name, found.signature, found.pinned, found.added_at) == ("runc", "", False, 0)
    store.set_ref(ref(HELLO, "crun", signature=Signature.VERIFIED, pinned=True))
    document = json.loads(path.read_text())
    assert document["schema"] == SCHEMA == 3
    crun, runc = store.refs()
    assert (crun.signature, crun.pinned, runc.url) == (Signature.VERIFIED, True, "u")
    assert crun.added_at > 0


def test_uses_are_told_with_the_references(store: Store) -> None:
    store.put_bytes(b"hello")
    store.set_ref(ref(HELLO, added_at=5.0))
    assert [(r.added_at, r.last_used_at) for r in store.refs()] == [(5.0, 0.0)]
    assert store.ref(Kind.BINARY, "runc", "1", "amd64") is not None
    assert store.ref(Kind.BINARY, "runc", "2", "amd64") is None
    assert store.refs()[0].last_used_at > 0


def test_a_lost_list_is_made_again_from_the_images(store: Store) -> None:
    image = image_maker.image(1000)
    image.put(store)
    name = "registry.example:5000/team/app:v2"
    store.set_ref(Ref(Kind.IMAGE, name, "v2", "arm64", image.digest, 10, "load"))
    store.set_ref(ref(store.put_bytes(b"hello")))
    (store.root / "refs.json").unlink()
    assert store.refs() == ()
    assert store.rebuild() == (1, 0)
    (found,) = store.refs()
    assert (found.name, found.version, found.arch, found.source) == (name, "v2", "arm64", "index")
    assert found.digest == image.digest
    store.discard(image.digest)
    assert store.rebuild() == (0, 1)
    assert store.refs() == ()


@pytest.mark.parametrize("text", ["", "{}", '{"manifests": [{}]}', '{"manifests": 3}', "[]"])
def test_a_torn_index_json_gives_nothing_back(store: Store, text: str) -> None:
    store.put_bytes(b"hello")
    (store.layout / "index.json").write_text(text)
    assert store.rebuild() == (0, 0)


def test_an_image_without_its_manifest_is_not_listed_for_others(store: Store) -> None:
    image = image_maker.image(1000)
    image.put(store)
    store.set_ref(Ref(Kind.IMAGE, "a:1", "1", "amd64", image.digest, 10, "load"))
    store.discard(image.digest)
    odd = store.put_bytes(b"not json")
    store.set_ref(Ref(Kind.IMAGE, "b:1", "1", "amd64", odd, 10, "load"))
    assert json.loads((store.layout / "index.json").read_text())["manifests"] == []


def test_a_reference_to_an_attached_blob_is_possible(store: Store, tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    bundle.write_bytes(b"hello")
    store.attach(bundle, {HELLO: (0, 5)})
    store.set_ref(ref(HELLO))
    assert store.ref(Kind.BINARY, "runc", "1", "amd64") is not None
    store.detach(bundle)
    with pytest.raises(NotFoundError):
        store.set_ref(ref(HELLO))


def test_a_newer_cache_is_refused_for_rebuilding_too(store: Store) -> None:
    store.put_bytes(b"hello")
    (store.root / "refs.json").write_text(f'{{"schema": {SCHEMA + 1}, "refs": []}}')
    with pytest.raises(IntegrityError, match="newer"):
        store.rebuild()


# -- the kit below -------------------------------------------------------------------------------


def test_a_full_sync_falls_back_where_it_is_not_known(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as stream:
        files.sync(stream.fileno())
        files.sync(stream.fileno(), full=fcntl.F_GETFD)
        files.sync(stream.fileno(), full=99_999)
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.sync(99_999, full=99_999)


def test_modes_follow_the_directory(tmp_path: Path) -> None:
    assert files.modes_of(tmp_path / "none") == files.PRIVATE
    tmp_path.chmod(0o755)
    assert files.modes_of(tmp_path) == files.PRIVATE
    tmp_path.chmod(0o775)
    assert files.modes_of(tmp_path) == files.Modes(0o2775, 0o664, tmp_path.stat().st_gid)


@as_root
def test_what_belongs_to_others_is_left_as_it_is(public: Path, as_user: AsUser) -> None:
    path = public / "file"
    path.touch()
    path.chmod(0o666)
    public.chmod(0o777)

    def touch(_store: Store) -> None:
        with path.open("r+") as stream:
            files.hand_over(stream.fileno(), files.Modes(0o700, 0o600, 7))
        files.write(public / "mine", b"x", 0o660, 0)

    assert as_user(touch) is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    status = (public / "mine").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, GROUP)


def test_a_file_in_place_of_the_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(LockedError, match="cache is in the way"):
        Store(tmp_path / "cache").refs()
