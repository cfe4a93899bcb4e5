"""The index: useful while it is there, harmless when it is damaged, absent or out of reach."""

from __future__ import annotations

import os
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.index import SCHEMA, TOUCH_SECONDS, VERIFIED_SECONDS, Index, Stamp
from ohmykube.cache.layout import Layout
from ohmykube.cache.store import Store
from ohmykube.kit import digest as digests

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = digests.of_bytes(b"1"), digests.of_bytes(b"2")
STAMP = Stamp(5, 7, 9)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "cache")
    layout.prepare()
    return layout


@pytest.fixture
def index(layout: Layout, clock: Clock) -> Index:
    return Index(layout, clock)


def later(index: Index, clock: Clock) -> Index:
    """Return the index as another process sees it."""
    return Index(index._layout, clock)


def test_a_hash_is_remembered_for_the_same_file_only(index: Index, clock: Clock) -> None:
    assert not index.is_verified(ONE, STAMP)
    index.verified(ONE, STAMP)
    for one in (index, later(index, clock)):
        assert one.is_verified(ONE, STAMP)
        assert not one.is_verified(TWO, STAMP)
        for other in (Stamp(6, 7, 9), Stamp(5, 8, 9), Stamp(5, 7, 10)):
            assert not one.is_verified(ONE, other)


def test_a_hash_grows_old_and_a_clock_set_back_ends_it(index: Index, clock: Clock) -> None:
    index.verified(ONE, STAMP)
    clock.now += VERIFIED_SECONDS
    assert later(index, clock).is_verified(ONE, STAMP)
    clock.now += 1
    assert not later(index, clock).is_verified(ONE, STAMP)
    assert not index.is_verified(ONE, STAMP)
    clock.now -= VERIFIED_SECONDS + 2
    assert not index.is_verified(ONE, STAMP)
    index.verified(ONE, STAMP)
    assert later(index, clock).is_verified(ONE, STAMP)


def test_what_is_gone_is_forgotten(index: Index, clock: Clock) -> None:
    index.verified(ONE, STAMP)
    index.touch([ONE])
    index.forget([ONE, TWO])
    assert not index.is_verified(ONE, STAMP)
    assert later(index, clock).used() == {}


def test_uses_near_together_count_as_one(index: Index, clock: Clock) -> None:
    first = clock.now
    index.touch([ONE, TWO])
    clock.now += TOUCH_SECONDS - 1
    index.touch([ONE])
    assert later(index, clock).used() == {ONE: first, TWO: first}
    clock.now += 1
    index.touch([ONE])
    index.touch([])
    assert later(index, clock).used() == {ONE: clock.now, TWO: first}
    assert not later(index, clock).is_verified(ONE, STAMP), "used is not verified"


def test_counters_add_up_by_day(index: Index, clock: Clock) -> None:
    index.count("hits", 2)
    other = later(index, clock)
    other.count("hits", 3)
    clock.now += 24 * 3600
    other.count("hits", 1)
    other.count("misses", 1)
    assert index.counters() == {
        "2027-01-15": {"hits": 5},
        "2027-01-16": {"hits": 1, "misses": 1},
    }


def test_many_threads_lose_no_count(index: Index) -> None:
    def work() -> None:
        for _ in range(50):
            index.count("hits", 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [day["hits"] for day in index.counters().values()] == [400]


def test_nothing_is_made_where_no_cache_is(tmp_path: Path) -> None:
    index = Index(Layout(tmp_path / "none"))
    index.verified(ONE, STAMP)
    index.count("hits", 1)
    assert index.is_verified(ONE, STAMP)
    assert [day["hits"] for day in index.counters().values()] == [1]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("damage", ["zeros", "text", "half", "table", "old"])
def test_a_damaged_index_is_set_aside_and_begun_anew(
    layout: Layout, clock: Clock, damage: str
) -> None:
    first = Index(layout, clock)
    first.verified(ONE, STAMP)
    first._close()
    path = layout.index
    if damage == "table":
        with sqlite3.connect(path) as database:
            database.execute("DROP TABLE blob")
        database.close()
    elif damage == "old":
        with sqlite3.connect(path) as database:
            database.execute("DROP TABLE blob")
            database.execute("CREATE TABLE blob(x)")
            database.execute("PRAGMA user_version = 0")
        database.close()
    else:
        whole = path.read_bytes()
        new = {"zeros": bytes(len(whole)), "text": b"{}" * 512, "half": whole[: len(whole) // 2]}
        path.write_bytes(new[damage])
    index = Index(layout, clock)
    assert not index.is_verified(ONE, STAMP)
    index.verified(TWO, STAMP)
    assert Index(layout, clock).is_verified(TWO, STAMP)
    assert index.trouble == ""
    aside = list(layout.quarantine.glob("index-*.db"))
    assert len(aside) == 1


def test_a_newer_index_is_left_alone(layout: Layout, clock: Clock) -> None:
    with sqlite3.connect(layout.index) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    database.close()
    before = layout.index.read_bytes()
    index = Index(layout, clock)
    index.verified(ONE, STAMP)
    assert index.is_verified(ONE, STAMP)
    assert "newer ohmykube" in index.trouble
    assert layout.index.read_bytes() == before


def test_an_index_that_somebody_holds_is_passed_over(layout: Layout, clock: Clock) -> None:
    index = Index(layout, clock)
    index.count("hits", 1)
    assert index._database is not None
    index._database.execute("PRAGMA busy_timeout = 1")
    holder = sqlite3.connect(layout.index)
    holder.execute("BEGIN IMMEDIATE")
    index.count("hits", 1)
    assert index.counters()[next(iter(index.counters()))] == {"hits": 2}
    holder.rollback()
    holder.close()
    index.count("hits", 1)
    assert index.trouble == ""
    assert list(Index(layout, clock).counters().values()) == [{"hits": 3}]


def test_a_directory_in_its_place_is_no_reason_to_fail(layout: Layout, clock: Clock) -> None:
    layout.index.mkdir()
    index = Index(layout, clock)
    index.verified(ONE, STAMP)
    assert index.is_verified(ONE, STAMP)
    assert index.trouble != ""


def test_a_full_disk_is_no_reason_to_fail(layout: Layout, clock: Clock) -> None:
    index = Index(layout, clock)
    index.count("hits", 1)
    assert index._database is not None
    pages = index._database.execute("PRAGMA page_count").fetchone()[0]
    index._database.execute(f"PRAGMA max_page_count = {pages}")
    index.touch([digests.of_bytes(b"%d" % number) for number in range(5000)])
    assert "full" in index.trouble
    assert len(index.used()) == 5000
    index.rebuild()
    assert index.trouble == ""


def test_a_lost_race_for_a_damaged_index_keeps_the_new_one(layout: Layout, clock: Clock) -> None:
    """Two runs find the same damaged index: the second must not throw away the first one's."""
    first = Index(layout, clock)
    first.verified(ONE, STAMP)
    first._close()
    seen = layout.index.stat().st_ino
    os.link(layout.index, layout.root / "old.db")
    layout.index.unlink()
    Index(layout, clock).verified(TWO, STAMP)
    first._set_aside(seen)
    assert Index(layout, clock).is_verified(TWO, STAMP)
    assert not list(layout.quarantine.glob("index-*")) if layout.quarantine.exists() else True


def test_an_index_that_vanished_is_made_again(layout: Layout, clock: Clock) -> None:
    first = Index(layout, clock)
    first.verified(ONE, STAMP)
    first._close()
    layout.index.unlink()
    first._set_aside(None)
    assert first._inode() is None
    assert first.is_verified(ONE, STAMP), "this process still knows"
    assert not Index(layout, clock).is_verified(ONE, STAMP)


def test_the_store_works_without_its_index(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    digest = store.put_bytes(b"hello")
    (store.root / "index.db").unlink()
    assert Store(store.root).trusted(digest).size == 5
    assert Store(store.root).trouble == ""


def test_what_cannot_be_done_twice_is_given_up(index: Index, layout: Layout) -> None:
    index.verified(ONE, STAMP)
    assert index._use(lambda database: database.execute("nonsense"), None) is None
    assert len(list(layout.quarantine.glob("index-*.db"))) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a link another user's")
@pytest.mark.parametrize("there", [True, False])
def test_an_index_behind_a_strangers_link_is_left_alone(
    layout: Layout, tmp_path: Path, there: bool
) -> None:
    other = tmp_path / "other.db"
    if there:
        other.touch()
    layout.index.unlink(missing_ok=True)
    layout.index.symlink_to(other)
    os.lchown(layout.index, 12345, -1)
    index = Index(layout)
    index.verified(ONE, STAMP)
    assert index.is_verified(ONE, STAMP)
    assert index.trouble
    assert other.exists() == there
    assert not there or other.stat().st_size == 0
