from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import LockedError
from ohmykube.kit import locks
from ohmykube.kit.files import Modes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import pathlib, sys
from ohmykube.kit import locks
from ohmykube.kit.files import Modes
with locks.exclusive(pathlib.Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


class Clock:
    """Moves only when somebody sleeps; ``on_sleep`` is what happens meanwhile."""

    def __init__(self) -> None:
        self.time = 100.0
        self.on_sleep: list[object] = []
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.pauses.append(seconds)
        if self.on_sleep:
            action = self.on_sleep.pop(0)
            assert callable(action)
            action()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Hold the lock in another process until it is killed."""
    argv = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        yield child
        child.kill()


def test_the_holder_is_named(path: Path, holder: subprocess.Popen[bytes]) -> None:
    lock = locks.exclusive(path, 'cluster "dev"')
    with pytest.raises(LockedError, match='cluster "dev" is in use') as caught, lock:
        pass
    assert caught.value.why is not None
    assert caught.value.why.startswith(f"pid {holder.pid} of ")


def test_a_killed_holder_frees_the_lock(path: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    with locks.exclusive(path, "it") as descriptor:
        assert os.fstat(descriptor).st_ino == path.stat().st_ino
        assert f'"pid": {os.getpid()}' in path.read_text()


def test_waiting_ends_when_the_holder_does(path: Path, holder: subprocess.Popen[bytes]) -> None:
    clock = Clock()
    clock.on_sleep = [lambda: None, lambda: (holder.kill(), holder.wait())]
    with locks.exclusive(path, "it", wait_seconds=60, clock=clock):
        assert clock.on_sleep == []


def test_waiting_has_an_end(path: Path, holder: subprocess.Popen[bytes]) -> None:
    clock = Clock()
    with pytest.raises(LockedError), locks.exclusive(path, "it", wait_seconds=1, clock=clock):
        pass
    assert 101 <= clock.time < 101.5


def test_a_lock_that_is_free_soon_is_had_soon(path: Path, holder: subprocess.Popen[bytes]) -> None:
    """The pauses between tries grow: a short hold costs little, a long one little asking."""
    clock = Clock()
    with pytest.raises(LockedError), locks.exclusive(path, "it", wait_seconds=60, clock=clock):
        pass
    assert clock.pauses == sorted(clock.pauses)
    assert (clock.pauses[0], clock.pauses[-1]) == (0.005, 0.2)


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": 1}', "\udcff"])
def test_a_torn_note_does_not_hurt(path: Path, holder: subprocess.Popen[bytes], note: str) -> None:
    path.write_bytes(note.encode(errors="surrogateescape"))
    with pytest.raises(LockedError) as caught, locks.exclusive(path, "it"):
        pass
    assert caught.value.why == "another process"


def test_the_same_process_is_kept_out_as_well(path: Path) -> None:
    with locks.exclusive(path, "it"), pytest.raises(LockedError), locks.exclusive(path, "it"):
        pass
    with locks.exclusive(path, "it"):
        pass


def test_a_shorter_note_leaves_no_rest_of_a_longer_one(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("x" * 10_000)
    with locks.exclusive(path, "it"):
        assert path.read_text().endswith("}")


def test_a_user_without_a_name_is_a_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    with locks.exclusive(path, "it"):
        assert '"user": "4000000"' in path.read_text()


def test_a_link_in_place_of_a_lock_file_is_not_followed(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text("secret")
    private.chmod(0o600)
    (tmp_path / "it.lock").symlink_to(private)
    shared = Modes(0o2770, 0o660, os.getegid())
    with pytest.raises(LockedError), locks.exclusive(tmp_path / "it.lock", "it", modes=shared):
        pass
    with pytest.raises(LockedError):
        locks.open_file(tmp_path / "it.lock", shared)
    assert private.read_text() == "secret"
    assert private.stat().st_mode & 0o777 == 0o600


def test_who_only_looks_keeps_nobody_out(path: Path) -> None:
    with locks.exclusive(path, "it"):
        pass
    clock = Clock()
    with path.open("rb") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)  # a look, in its middle
        clock.on_sleep = [lambda: None, lambda: fcntl.flock(looker, fcntl.LOCK_UN)]
        with locks.exclusive(path, "it", clock=clock):
            assert clock.on_sleep == []
            assert locks.is_held(looker)


def test_a_look_that_never_ends_is_a_holder(path: Path) -> None:
    with locks.exclusive(path, "it"):
        pass
    clock = Clock()
    with path.open("rb") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        with pytest.raises(LockedError), locks.exclusive(path, "it", clock=clock):
            pass
    assert clock.time == pytest.approx(100 + locks.LOOK_SECONDS, abs=0.1)


def test_looking_tells_the_truth_and_holds_nothing(
    path: Path, holder: subprocess.Popen[bytes]
) -> None:
    with path.open("rb") as stream:
        assert locks.is_held(stream)
        holder.kill()
        holder.wait()
        assert not locks.is_held(stream)
        with locks.exclusive(path, "it"):
            pass
