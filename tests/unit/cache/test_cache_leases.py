"""Leases: they end with their process, and never before."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache.prune import Policy, prune
from ohmykube.cache.store import Store
from ohmykube.kit import digest as digests

if TYPE_CHECKING:
    from pathlib import Path

ONE = digests.of_bytes(b"1")
HOLDER = """
import sys
from pathlib import Path
from ohmykube.cache.store import Store
with Store(Path(sys.argv[1])).lease("cluster dev", [sys.argv[2]]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def test_a_lease_lasts_as_long_as_its_block(store: Store) -> None:
    assert store.leases() == ()
    with store.lease("one", [ONE, ONE]), store.lease("two", []):
        first, second = store.leases()
        assert (first.owner, first.pid, first.digests) == ("one", os.getpid(), frozenset({ONE}))
        assert second.owner == "two"
        assert first.since <= second.since
    assert store.leases() == ()
    assert list((store.root / "leases").iterdir()) == []


def test_a_lease_is_released_when_its_block_fails(store: Store) -> None:
    with pytest.raises(RuntimeError), store.lease("one", [ONE]):
        raise RuntimeError
    assert store.leases() == ()


def test_prune_spares_what_another_process_leased_until_that_dies(store: Store) -> None:
    digest = store.put_bytes(b"needed")
    policy = Policy(everything=True, grace=0)
    argv = [sys.executable, "-c", HOLDER, str(store.root), digest]
    with Popen(argv, stdin=PIPE, stdout=PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert [(one.owner, one.pid) for one in store.leases()] == [("cluster dev", child.pid)]
        prune(store, policy)
        assert store.has(digest)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert len(list((store.root / "leases").glob("*.lease"))) == 1, "nobody removed it"
        assert store.leases() == ()
    assert list((store.root / "leases").iterdir()) == []
    prune(store, policy)
    assert not store.has(digest)


def test_an_unfinished_note_goes_when_it_is_old(store: Store) -> None:
    with store.lease("one", [ONE]):
        young = store.root / "leases" / ".new-young"
        old = store.root / "leases" / ".new-old"
        young.write_text("{")
        old.write_text("{")
        os.utime(old, (1, 1))
        held = store.root / "leases" / ".new-held"
        with held.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            assert [one.owner for one in store.leases()] == ["one"]
        assert sorted(p.name for p in (store.root / "leases").glob(".new*")) == [
            ".new-held",
            ".new-young",
        ]


@pytest.mark.parametrize("name", ["1-x.lease", ".new-x"])
def test_what_is_no_file_is_no_lease_and_holds_nobody_up(
    store: Store, name: str, tmp_path: Path
) -> None:
    with store.lease("one", [ONE]):
        pass
    directory = store.root / "leases"
    os.mkfifo(directory / name)
    other = tmp_path / "other"
    other.write_text("kept")
    (directory / f"2{name}").symlink_to(other)
    with store.lease("one", [ONE]):
        assert [lease.owner for lease in store.leases()] == ["one"]
    assert other.read_text() == "kept"
