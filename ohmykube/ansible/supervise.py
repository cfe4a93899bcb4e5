"""Keeps one ``ansible-playbook`` on a leash; runs alone, with the standard library only.

Started as ``python -I -S supervise.py PARENT_PID LOCK_FILE WAIT_SECONDS PROGRAM ARGUMENT…`` (no
argparse: it would double the start-up time).

Ansible's workers make their own sessions and ``ssh`` leaves masters behind, so neither a signal to
a process group nor the end of a terminal reaches all of them. Two processes take care of that:

front       keeps the place that the caller started: dies with the caller (parent-death signal),
            passes on the exit code, and may be killed at any time by any signal.
supervisor  notices the end of the front by a pipe, adopts every orphan (child subreaper), holds the
            lock file while anything runs, and ends all descendants at the end: SIGTERM, two
            seconds, SIGKILL.

Exit code: that of the program (128 + number when a signal ended it), 75 when the lock is held, 143
when the leash was pulled.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

LOCKED = 75
"""Exit code when a previous run did not end within the time to wait (EX_TEMPFAIL)."""
ENDED = 143
GRACE_SECONDS = 2.0
_KILL_SECONDS = 5.0
_SLICE = 0.05
_LINUX = os.uname().sysname == "Linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def prctl(option: int, value: int) -> None:
    """Call prctl(2); does nothing where there is none (macOS)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def parents() -> dict[int, int]:
    """Return the parent of each process that can be seen; zombies are left out."""
    if not os.path.isdir("/proc/self"):  # noqa: PTH112 - pathlib costs start-up time
        return _parents_from_ps()  # pragma: no cover - macOS
    found = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123
                # pid (name, which may hold anything) state ppid …
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    found[int(entry)] = int(parent)
    return found


def _parents_from_ps() -> dict[int, int]:
    with os.popen("/bin/ps -A -o pid=,ppid=,state=") as output:  # noqa: S605 - constant text
        rows = [line.split() for line in output]
    return {int(row[0]): int(row[1]) for row in rows if len(row) > 2 and row[2][:1] != "Z"}


def descendants(root: int) -> list[int]:
    """Return all living descendants of ``root``, parents before children."""
    children: dict[int, list[int]] = {}
    for child, parent in parents().items():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found


def send(pids: Sequence[int], number: int) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def reap() -> dict[int, int]:
    """Collect all children that have ended; return their exit codes."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = code_of(status)


def code_of(status: int) -> int:
    """Return the exit code for a wait status, as a shell would."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def end_all(grace: float = GRACE_SECONDS) -> None:
    """End every descendant of this process, those made meanwhile too."""
    for number, limit in ((signal.SIGTERM, grace), (signal.SIGKILL, _KILL_SECONDS)):
        deadline = time.monotonic() + limit
        told: set[int] = set()
        while True:
            reap()
            left = descendants(os.getpid())
            if not left:
                return
            send([pid for pid in left if pid not in told], number)
            told.update(left)
            if time.monotonic() > deadline:
                break
            select.select([], [], [], _SLICE / 5)


def take_lock(path: str, wait: float, lifeline: int) -> int | None:
    """Return a descriptor that holds the lock, or None when it stays held or the front is gone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
        else:
            note = {
                "pid": os.getpid(),
                "user": str(os.getuid()),
                "command": "ansible-playbook",
                "since": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            }
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(note).encode(), 0)
            return descriptor
        if time.monotonic() >= deadline or select.select([lifeline], [], [], _SLICE)[0]:
            os.close(descriptor)
            return None


def _start(command: Sequence[str], lock: int) -> int:
    supervisor = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(ENDED)
        signal.set_wakeup_fd(-1)
        for number in (*_HANDLED, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        # Should the supervisor be killed, Ansible's own processes still hold the lock.
        os.set_inheritable(lock, True)  # noqa: FBT003
        os.execv(command[0], list(command))  # noqa: S606
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error}\n".encode())
    os._exit(127)


def supervise(command: Sequence[str], lock_file: str, wait: float, lifeline: int) -> int:
    """Run ``command`` under the lock until it ends or the leash is pulled; return the exit code.

    Args:
        command: absolute path of the program, and its arguments.
        lock_file: made when absent, never removed.
        wait: seconds to wait for the lock.
        lifeline: a descriptor that becomes readable (end of file) when the front is gone.
    """
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for number in (*_HANDLED, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    lock = take_lock(lock_file, wait, lifeline)
    if lock is None:
        os.write(2, b"a previous run of ansible-playbook is still busy with this cluster\n")
        return LOCKED
    child = _start(command, lock)
    code = ENDED
    while True:
        ready, _, _ = select.select([lifeline, wake_read], [], [])
        signals = os.read(wake_read, 4096) if wake_read in ready else b""
        ended = reap()
        if child in ended:
            code = ended[child]
            break
        if lifeline in ready or any(number in signals for number in _HANDLED):
            break
    end_all()
    signal.set_wakeup_fd(-1)
    os.close(wake_read)
    os.close(wake_write)
    os.close(lock)
    return code


def holder(lock_file: str | os.PathLike[str]) -> str:
    """Say who holds the lock, as far as its note tells."""
    pid = _noted_pid(lock_file)
    return f"held by process {pid}" if pid else "held by an unknown process"


def _noted_pid(lock_file: str | os.PathLike[str]) -> int:
    try:
        with open(lock_file, encoding="utf-8") as file:  # noqa: PTH123
            return int(json.load(file)["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def settle(lock_file: str | os.PathLike[str], seconds: float) -> bool:
    """Tell the supervisor that holds the lock to end, and wait until the lock is free.

    Called by whoever started it, when that cannot be sure that the front is gone. Returns whether
    the lock was free at last.
    """
    deadline = time.monotonic() + seconds
    told = False
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            pid = _noted_pid(lock_file)
            if pid and not told and _is_supervisor(pid):
                send([pid], signal.SIGTERM)
                told = True
            if time.monotonic() >= deadline:
                return False
            select.select([], [], [], _SLICE)
    finally:
        os.close(descriptor)


def _is_supervisor(pid: int) -> bool:
    """Guard against a number that now belongs to somebody else."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
            return os.fsencode(os.path.basename(__file__)) in file.read()  # noqa: PTH119
    except OSError:
        return not _LINUX


def _front(supervisor: int, parent: int) -> int:
    """Wait for the supervisor and return its exit code; end when ``parent`` is gone."""
    for number in _HANDLED:
        signal.signal(number, lambda *_: send([supervisor], signal.SIGTERM))
    if _LINUX:
        return code_of(os.waitpid(supervisor, 0)[1])
    while True:  # pragma: no cover - macOS: no parent-death signal, so look
        pid, status = os.waitpid(supervisor, os.WNOHANG)
        if pid:
            return code_of(status)
        if os.getppid() != parent:
            return ENDED
        select.select([], [], [], _SLICE)


def main(arguments: Sequence[str]) -> int:
    """Fork into front and supervisor; return the exit code of whichever this process became."""
    parent, lock_file, wait, *command = arguments
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the line above
        return ENDED
    lifeline_read, lifeline_write = os.pipe()
    supervisor = os.fork()
    if supervisor:
        os.close(lifeline_read)
        return _front(supervisor, int(parent))
    os.close(lifeline_write)
    os.setsid()
    return supervise(command, lock_file, float(wait), lifeline_read)


def _run() -> NoReturn:
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    _run()
