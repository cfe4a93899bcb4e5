"""The store: names, records, locks, what a damaged file does."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import errno
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from ohmykube.errors import (
    ExitCode,
    IntegrityError,
    LockedError,
    NotFoundError,
    OhmykubeError,
    UsageError,
)
from ohmykube.kit import files, locks
from ohmykube.state import layout, trash
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore
from tests.fake_clock import FakeClock


def record(name: str = "dev", **more: object) -> Record:
    """Return a small record."""
    return dataclasses.replace(
        Record(
            id="", name=name, document={"spec": {"a": [1, None]}}, provider="nspawn",
            kubernetes_version="1.36.3",
        ),
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore(tmp_path / "state")


def tree(root: Path) -> list[str]:
    """Return everything below a directory."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def done(name: str) -> object:
    """Return a change that adds a milestone."""
    return lambda old: dataclasses.replace(old, done=(*old.done, name))


# -- reading ---------------------------------------------------------------------------------------


def test_reading_makes_nothing(store: StateStore) -> None:
    assert store.names() == ()
    assert store.read("dev") is None
    assert store.current() is None
    assert not store.exists("dev")
    assert store.remove("dev") is False
    with pytest.raises(NotFoundError, match='no cluster "dev"') as caught:
        store.need("dev")
    assert caught.value.why == "known clusters: none"
    with pytest.raises(NotFoundError):
        store.update("dev", lambda old: old)
    assert not store.root.exists()


def test_create_update_read(store: StateStore) -> None:
    made = store.create(record())
    assert made.id
    assert made.serial == 1
    assert made.created == made.updated != ""
    assert store.read("dev") == made
    changed = store.update("dev", lambda old: dataclasses.replace(old, done=("a",), lock={"x": 1}))
    assert (changed.done, changed.serial, changed.lock) == (("a",), 2, {"x": 1})
    assert store.read("dev") == changed
    assert StateStore(store.root).names() == ("dev",)


def test_identity_cannot_be_changed_by_an_update(store: StateStore) -> None:
    made = store.create(record())
    changed = store.update(
        "dev", lambda old: dataclasses.replace(old, id="x", name="other", created="", serial=9)
    )
    assert (changed.id, changed.name, changed.created) == (made.id, "dev", made.created)


def test_second_cluster_of_one_name_is_refused(store: StateStore) -> None:
    store.create(record())
    with pytest.raises(LockedError, match="already"):
        store.create(record())


def test_names_list_only_directories_with_a_record(store: StateStore) -> None:
    store.create(record("b"))
    store.create(record("a"))
    clusters = store.root / layout.CLUSTERS
    (clusters / "empty").mkdir()
    (clusters / "Odd Name").mkdir()
    (clusters / "file").write_text("")
    (clusters / "kept-copy").mkdir()
    (clusters / "kept-copy" / layout.RECORD_BACKUP).write_text("")
    assert store.names() == ("a", "b", "kept-copy")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc", "A", "-a", "a-", "a.b", "a\n", "x" * 41, "a\0"]
)
def test_odd_names_touch_nothing(store: StateStore, name: str) -> None:
    store.create(record("keep"))
    before = tree(store.root.parent)
    for call in (store.directory, store.read, store.remove, store.new_run, store.exists):
        with pytest.raises(UsageError) as caught:
            call(name)
        assert len(caught.value.message) < 120
        assert caught.value.message.isprintable()
    with pytest.raises(UsageError):
        store.create(record(name))
    assert tree(store.root.parent) == before


def test_removing_a_cluster_leaves_one_whose_name_starts_with_it(store: StateStore) -> None:
    for name in ("dev", "dev-test", "de", "dev2"):
        store.create(record(name))
    assert store.remove("dev") is True
    assert store.names() == ("de", "dev-test", "dev2")
    assert [p for p in tree(store.root) if "removing" in p] == []


def test_links_are_not_removed(store: StateStore, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / layout.RECORD).write_text("{}")
    clusters = store.root / layout.CLUSTERS
    clusters.mkdir(parents=True)
    (clusters / "dev").symlink_to(precious)
    (clusters / "file").write_text("")
    for name in ("dev", "file"):
        with pytest.raises(IntegrityError, match="not a directory of ours"):
            store.remove(name)
    assert (precious / layout.RECORD).exists()


def test_links_inside_are_not_followed(store: StateStore, tmp_path: Path) -> None:
    store.create(record())
    precious = tmp_path / "precious"
    precious.write_text("x")
    (store.directory("dev") / "runs").symlink_to(tmp_path)
    assert store.remove("dev") is True
    assert precious.exists()


def test_everything_is_private_whatever_the_umask(store: StateStore) -> None:
    old = os.umask(0)
    try:
        store.create(record())
        store.update("dev", lambda r: r)
        store.set_current("dev")
        store.new_run("dev")
    finally:
        os.umask(old)
    open_to_others = [p for p in store.root.rglob("*") if stat.S_IMODE(p.stat().st_mode) & 0o077]
    assert open_to_others == []
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
    assert stat.S_IMODE((store.directory("dev") / layout.RECORD).stat().st_mode) == 0o600


def test_current_cluster(store: StateStore) -> None:
    store.create(record())
    store.set_current("dev")
    assert store.current() == "dev"
    with pytest.raises(NotFoundError):
        store.set_current("other")
    (store.root / layout.CURRENT).write_text("../..")
    assert store.current() is None
    store.set_current("dev")
    store.remove("dev")
    assert store.current() is None


def test_a_cluster_that_was_removed_meanwhile_is_not_chosen(tmp_path: Path) -> None:
    """Whoever chooses or forgets looks at what is there once nobody else does either."""
    with contextlib.ExitStack() as other:
        store = StateStore(tmp_path / "state", clock=FakeClock(meanwhile=other.close))
        store.create(record())
        other.enter_context(
            locks.exclusive(store.root / layout.CURRENT_LOCK, "the choice of another run")
        )
        other.callback(trash.discard, store.directory("dev"), store.root)
        with pytest.raises(NotFoundError):
            store.set_current("dev")
    assert store.current() is None


def test_a_choice_is_taken_back_when_the_cluster_goes_while_it_is_written(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever removed it looked before the choice was there, and leaves it to us."""
    store.create(record())
    write = files.write

    def late(path: Path, data: str | bytes, mode: int = 0o600) -> None:
        assert StateStore(store.root).remove("dev")
        write(path, data, mode)

    monkeypatch.setattr(files, "write", late)
    with pytest.raises(NotFoundError):
        store.set_current("dev")
    assert store.current() is None


def test_the_choice_of_another_cluster_outlives_a_removal(tmp_path: Path) -> None:
    with contextlib.ExitStack() as other:
        store = StateStore(tmp_path / "state", clock=FakeClock(meanwhile=other.close))
        for name in ("dev", "other"):
            store.create(record(name))
        store.set_current("dev")
        other.enter_context(locks.exclusive(store.root / layout.CURRENT_LOCK, "another run"))
        other.callback(files.write, store.root / layout.CURRENT, "other\n")
        store.remove("dev")
    assert store.current() == "other"


def test_a_run_that_works_on_a_cluster_does_not_keep_it_from_being_chosen(
    store: StateStore, tmp_path: Path
) -> None:
    store.create(record())
    with StateStore(tmp_path / "state").locked("dev"):
        store.set_current("dev")
    assert store.current() == "dev"


# -- damage ----------------------------------------------------------------------------------------


def damaged(store: StateStore, data: bytes | None) -> IntegrityError:
    """Put bytes in the place of the record and return the error of reading it."""
    path = store.directory("dev") / layout.RECORD
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        store.read("dev")
    error = caught.value
    assert error.exit_code is ExitCode.INTEGRITY
    assert "dev" in store.names()
    assert str(path) in (error.why or "")
    assert error.hint
    if data is not None:
        assert path.read_bytes() == data
    return error


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"{", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it has no schema number"),
        (b'{"schema": "1"}', "it has no schema number"),
        (b'{"schema": 1}', "its checksum does not match"),
        (b'{"schema": 1, "cluster": {}, "sha256": "x"}', "its checksum does not match"),
        (None, "it is missing"),
    ],
)
def test_damaged_record_is_never_no_cluster(
    store: StateStore, data: bytes | None, why: str
) -> None:
    store.create(record())
    good = store.update("dev", lambda r: r)
    store.update("dev", lambda r: r)
    error = damaged(store, data)
    assert why in (error.why or "")
    assert (error.hint or "").startswith("cp ")
    assert f"written {good.updated}" in (error.hint or "")
    for change in (lambda: store.update("dev", lambda r: r), lambda: store.need("dev")):
        with pytest.raises(IntegrityError):
            change()
    assert store.restore("dev") == good
    assert store.read("dev") == good


def test_every_truncation_and_every_flipped_bit_is_found(store: StateStore) -> None:
    made = store.create(record())
    path = store.directory("dev") / layout.RECORD
    whole = path.read_bytes()

    def read(data: bytes) -> Record | None:
        path.write_bytes(data)
        try:
            return store.read("dev")
        except IntegrityError:
            return None

    assert [n for n in range(len(whole) - 1) if read(whole[:n])] == []
    survived = []
    for place in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            found = read(bytes(data))
            if found is not None and found != made:
                survived.append((place, bit))
    assert survived == []


def test_newer_schema_is_refused_with_a_way_out(store: StateStore) -> None:
    store.create(record())
    path = store.directory("dev") / layout.RECORD
    content = json.loads(path.read_text())
    error = damaged(store, json.dumps({**content, "schema": 3, "cluster": []}).encode())
    assert error.message == 'cluster "dev" was made by a newer version of ohmykube'
    assert error.hint == "pip install --upgrade ohmykube"


def test_record_of_another_cluster_is_refused(store: StateStore) -> None:
    store.create(record())
    store.create(record("other"))
    data = (store.directory("other") / layout.RECORD).read_bytes()
    assert 'it is the record of cluster "other"' in (damaged(store, data).why or "")


def test_well_summed_nonsense_is_refused(store: StateStore) -> None:
    from ohmykube.state import record as module

    store.create(record())
    body = json.loads((store.directory("dev") / layout.RECORD).read_text())["cluster"]
    for change in ({"serial": True}, {"done": [1]}, {"document": []}, {"extra": 1}, {"name": ".."}):
        wrong = {**body, **change}
        content = {"schema": 1, "sha256": module._sum(1, wrong), "cluster": wrong}
        assert "not a record" in (damaged(store, json.dumps(content).encode()).why or "")


def test_without_a_copy_the_hint_is_to_put_the_record_aside(store: StateStore) -> None:
    store.create(record())
    error = damaged(store, b"x")
    assert (error.hint or "").startswith("mv ")
    with pytest.raises(NotFoundError, match="no copy"):
        store.restore("dev")
    (store.directory("dev") / layout.RECORD_BACKUP).write_text("y")
    with pytest.raises(IntegrityError, match="damaged as well"):
        store.restore("dev")


def test_damaged_record_does_not_replace_the_good_copy(store: StateStore) -> None:
    store.create(record())
    first = store.update("dev", lambda r: r)
    store.update("dev", lambda r: r)
    path = store.directory("dev") / layout.RECORD
    path.write_bytes(b"x")
    store.restore("dev")
    assert json.loads((path.parent / layout.RECORD_BACKUP).read_text())["cluster"]["serial"] == (
        first.serial
    )


def test_record_that_is_a_directory(store: StateStore) -> None:
    store.create(record())
    path = store.directory("dev") / layout.RECORD
    path.unlink()
    path.mkdir()
    with pytest.raises(IntegrityError, match="damaged") as caught:
        store.read("dev")
    assert "it is a directory" in (caught.value.why or "")


# -- locks -----------------------------------------------------------------------------------------


def test_lock_names_its_holder_and_can_be_entered_again(store: StateStore) -> None:
    with store.locked("dev") as descriptor:
        with store.locked("dev") as again:
            assert again == descriptor
        store.create(record())
        with pytest.raises(LockedError) as caught, StateStore(store.root).locked("dev"):
            pass
        assert f"pid {os.getpid()}" in (caught.value.why or "")
        assert StateStore(store.root).read("dev") is not None
    with StateStore(store.root).locked("dev"):
        pass


def test_a_lock_is_seen_though_its_note_could_not_be_written(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    assert not store.is_busy("dev")
    with store.locked("dev"):
        store.create(record())
        assert StateStore(store.root).is_busy("dev")
    assert not store.is_busy("dev")


def test_the_note_of_a_living_process_alone_holds_nothing(store: StateStore) -> None:
    with store.locked("dev"):
        store.create(record())
    assert f'"pid": {os.getpid()}' in (store.directory("dev") / layout.LOCK).read_text()
    assert not store.is_busy("dev")


def test_locks_of_clusters_do_not_meet(store: StateStore) -> None:
    with store.locked("dev"), StateStore(store.root).locked("dev-test"):
        pass


def test_lock_alone_leaves_no_directory(store: StateStore) -> None:
    with store.locked("dev"):
        assert store.directory("dev").is_dir()
    assert not store.directory("dev").exists()
    with store.locked("dev"):
        store.create(record())
    assert store.directory("dev").is_dir()


def test_lock_is_free_after_an_error(store: StateStore) -> None:
    with pytest.raises(RuntimeError), store.locked("dev"):
        raise RuntimeError
    with StateStore(store.root).locked("dev"):
        pass


def test_waiter_of_a_removed_cluster_gets_a_lock_that_counts(store: StateStore) -> None:
    """Who waits while the directory goes away must not end up with the lock of a dead inode."""

    class Waiting:
        """Removes the cluster under the waiter's feet."""

        def __init__(self) -> None:
            self.seconds = 0.0

        def now(self) -> float:
            return self.seconds

        def sleep(self, seconds: float) -> None:
            self.seconds += seconds
            if holder.is_alive():
                leave.set()
                holder.join(10)

    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with store.locked("dev"):
            store.create(record())
            entered.set()
            leave.wait(10)
            store.remove("dev")

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(10)
    waiter = StateStore(store.root, clock=Waiting())
    with waiter.locked("dev", wait_seconds=5) as descriptor:
        lock = store.directory("dev") / layout.LOCK
        assert os.path.samestat(os.fstat(descriptor), lock.stat())
        with pytest.raises(LockedError), StateStore(store.root).locked("dev"):
            pass


def test_leftovers_of_killed_runs_are_swept_under_the_lock(store: StateStore) -> None:
    store.create(record())
    temp = store.directory("dev") / ".omk-tmp-abc"
    temp.write_text("x")
    leftover = store.root / f"{layout.REMOVING_PREFIX}old-1"
    (leftover / "runs").mkdir(parents=True)
    store.read("dev")
    assert temp.exists()
    with store.locked("dev"):
        assert not temp.exists()
        assert not leftover.exists()


def test_twenty_runs_are_kept(store: StateStore) -> None:
    times = iter(range(100))
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    clocked = StateStore(store.root, now=lambda: start + dt.timedelta(minutes=next(times)))
    made = [clocked.new_run("dev") for _ in range(30)]
    left = sorted((store.directory("dev") / layout.RUNS).iterdir())
    assert left == made[-layout.RUNS_KEPT :]
    assert made[0].name == "20260101T000000.000000Z"


def test_runs_of_one_instant_have_their_own_directories(store: StateStore) -> None:
    same = StateStore(store.root, now=lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    assert len({same.new_run("dev") for _ in range(3)}) == 3


def test_threads_of_one_process_lose_no_update(store: StateStore) -> None:
    store.create(record())

    def work(label: str) -> None:
        for number in range(20):
            store.update("dev", done(f"{label}{number}"))  # type: ignore[arg-type]

    with store.locked("dev"):
        threads = [threading.Thread(target=work, args=(label,)) for label in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(store.need("dev").done)) == 60


# -- control sockets -------------------------------------------------------------------------------


def test_control_directory_is_short_and_private(tmp_path: Path) -> None:
    near = layout.control_directory(Path("/tmp") / f"omk-t{os.getpid()}")
    try:
        assert near.name == layout.CONTROL
        far = layout.control_directory(tmp_path / ("x" * 100))
        assert len(str(far)) < 45
        assert stat.S_IMODE(far.stat().st_mode) == 0o700
        assert far == layout.control_directory(tmp_path / ("x" * 100))
        far.chmod(0o755)
        with pytest.raises(OhmykubeError, match="not ours alone"):
            layout.control_directory(tmp_path / ("x" * 100))
        (far / "socket").touch()
        for _ in range(2):  # the second time there is nothing
            layout.remove_control_directory(tmp_path / ("x" * 100))
            assert not far.exists()
        layout.remove_control_directory(near.parent)
        assert near.is_dir(), "it goes with the cluster directory"
    finally:
        near.rmdir()
        near.parent.rmdir()
