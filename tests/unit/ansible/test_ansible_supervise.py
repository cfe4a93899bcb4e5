"""The leash: in forked processes, so that its lines are measured, and as the program it is."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ohmykube.ansible import supervise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Eventually = Callable[[Callable[[], bool]], bool]

SH = "/bin/sh"


def _forked(work: Callable[[], int]) -> int:
    """Run ``work`` in a forked process and return its exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work()
        finally:
            _save_coverage()
            os._exit(code)
    return supervise.code_of(os.waitpid(child, 0)[1])


def _save_coverage() -> None:
    coverage = sys.modules.get("coverage")
    current = coverage.Coverage.current() if coverage else None
    if current is not None:
        current.stop()
        current.save()


def _supervise(command: Sequence[str], lock: Path, wait: float = 1.0) -> int:
    """Run ``supervise.supervise`` in a forked process whose leash is never pulled."""
    read, write = os.pipe()
    try:
        return _forked(lambda: supervise.supervise(command, str(lock), wait, read))
    finally:
        os.close(read)
        os.close(write)


def _alive(pid: int) -> bool:
    return pid in supervise.parents()


def _free(lock: Path) -> bool:
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _number(file: Path, eventually: Eventually) -> int:
    """Return the process id that a script writes into ``file``."""
    assert eventually(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())


@contextmanager
def _program(lock: Path, script: str, wait: float = 1.0) -> Iterator[subprocess.Popen[bytes]]:
    """Start supervise as a program; ends whatever is left of it."""
    argv = [sys.executable, "-I", "-S", supervise.__file__, str(os.getpid()), str(lock)]
    child = subprocess.Popen([*argv, str(wait), SH, "-c", script], stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        supervise.settle(lock, 5)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)])
def test_the_exit_code_is_passed_on(tmp_path: Path, script: str, code: int) -> None:
    assert _supervise([SH, "-c", script], tmp_path / "lock") == code
    assert _free(tmp_path / "lock")


def test_what_cannot_be_started_is_said(tmp_path: Path) -> None:
    assert _supervise(["/nonexistent"], tmp_path / "lock") == 127


def test_the_lock_is_held_meanwhile_and_names_the_holder(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    script = f"flock -n {lock} true && exit 1; cat {lock} > {tmp_path}/note"
    assert _supervise([SH, "-c", script], lock) == 0
    note = json.loads((tmp_path / "note").read_text())
    assert note["pid"] > 0
    assert set(note) == {"pid", "user", "command", "since"}


def test_a_held_lock_is_respected(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert _supervise([SH, "-c", f"touch {tmp_path}/ran"], lock, 0.1) == supervise.LOCKED
    assert not (tmp_path / "ran").exists()


def test_a_lock_that_gets_free_in_time_is_taken(tmp_path: Path, eventually: Eventually) -> None:
    lock = tmp_path / "lock"
    with _program(lock, f"echo $$ > {tmp_path}/first; sleep 0.5"):
        _number(tmp_path / "first", eventually)
        assert _supervise([SH, "-c", "exit 5"], lock, 30) == 5


def test_daemons_that_left_the_session_are_ended(tmp_path: Path) -> None:
    script = f"""
        setsid {SH} -c 'echo $$ > {tmp_path}/a; exec sleep 600' &
        (setsid {SH} -c '(trap "" TERM; echo ok > {tmp_path}/b; sleep 600; sleep 600) &')
        while ! test -s {tmp_path}/a -a -s {tmp_path}/b; do :; done
        exit 4"""
    assert _supervise([SH, "-c", script], tmp_path / "lock") == 4
    assert not _alive(int((tmp_path / "a").read_text()))
    assert _free(tmp_path / "lock")


def test_the_end_of_the_front_ends_everything(tmp_path: Path, eventually: Eventually) -> None:
    with _program(tmp_path / "lock", f"echo $$ > {tmp_path}/pid; sleep 600; exit") as child:
        inner = _number(tmp_path / "pid", eventually)
        child.kill()
        child.wait()
        assert eventually(lambda: not _alive(inner) and _free(tmp_path / "lock"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_front_ends_everything(
    tmp_path: Path, eventually: Eventually, number: signal.Signals
) -> None:
    with _program(tmp_path / "lock", f"echo $$ > {tmp_path}/pid; sleep 600; exit") as child:
        inner = _number(tmp_path / "pid", eventually)
        child.send_signal(number)
        assert child.wait(30) == supervise.ENDED
        assert not _alive(inner)


def test_the_end_of_the_supervisor_itself_ends_the_program(
    tmp_path: Path, eventually: Eventually
) -> None:
    lock = tmp_path / "lock"
    with _program(lock, f"echo $$ > {tmp_path}/pid; exec sleep 600") as child:
        inner = _number(tmp_path / "pid", eventually)
        os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)
        assert child.wait(30) == 137
        assert eventually(lambda: not _alive(inner))


def test_an_orphan_of_a_killed_supervisor_keeps_the_lock(
    tmp_path: Path, eventually: Eventually
) -> None:
    lock = tmp_path / "lock"
    with _program(lock, f"setsid sleep 600 & echo $! > {tmp_path}/pid; wait") as child:
        orphan = _number(tmp_path / "pid", eventually)
        os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)
        child.wait(30)
        assert not _free(lock)
        assert supervise.settle(lock, 0.1) is False
        os.kill(orphan, signal.SIGKILL)
        assert eventually(lambda: _free(lock))


def test_it_ends_at_once_when_its_parent_is_gone_already(tmp_path: Path) -> None:
    lock = str(tmp_path / "lock")
    assert _forked(lambda: supervise.main(["1", lock, "1", SH])) == supervise.ENDED
    assert not (tmp_path / "lock").exists()


def test_main_forks_into_front_and_supervisor(tmp_path: Path) -> None:
    arguments = [str(os.getpid()), str(tmp_path / "lock"), "1", SH, "-c", "exit 6"]
    assert _forked(lambda: supervise.main(arguments)) == 6


def test_settle_ends_a_supervisor(tmp_path: Path, eventually: Eventually) -> None:
    lock = tmp_path / "lock"
    with _program(lock, f"echo $$ > {tmp_path}/pid; sleep 600; exit") as child:
        inner = _number(tmp_path / "pid", eventually)
        assert supervise.holder(lock).startswith("held by process ")
        assert supervise.settle(lock, 20)
        assert not _alive(inner)
        assert child.wait(30) == supervise.ENDED


def test_settle_never_signals_somebody_else(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with lock.open("w") as file, subprocess.Popen(["sleep", "600"]) as other:
        json.dump({"pid": other.pid}, file)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        assert supervise.settle(lock, 0.1) is False
        assert other.poll() is None
        other.kill()


def test_an_unreadable_note_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("rubbish")
    assert supervise.holder(tmp_path / "lock") == "held by an unknown process"
    assert supervise.settle(tmp_path / "lock", 0)


def test_processes_are_listed_with_their_parents() -> None:
    with subprocess.Popen([SH, "-c", "sleep 600 & wait"]) as child:
        try:
            assert supervise.parents()[child.pid] == os.getpid()
            assert child.pid in supervise.descendants(os.getpid())
        finally:
            supervise.send([*supervise.descendants(child.pid), child.pid], signal.SIGKILL)
    assert child.pid not in supervise.parents()
