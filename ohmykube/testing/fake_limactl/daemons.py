"""The processes of the fake limactl: forked from a call, living on until stopped or too old."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, NoReturn

from ohmykube.testing.fake_limactl.log import now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_SLICE = 0.5
"""Seconds until it is looked whether the home is still there."""


def fork(work: Callable[[], None], directory: Path, name: str, *, keep: int = 2) -> None:
    """Run ``work`` in a process of its own that nobody waits for; output to ``name``.std*.log.

    Of the files that the caller has open it keeps the descriptor ``keep`` only: a lock among them
    would stay taken.
    """
    child = os.fork()
    if child == 0:
        _become(work, directory, name, keep)
    os.waitpid(child, 0)


def _become(  # pragma: no cover - in a process that nothing measures
    work: Callable[[], None], directory: Path, name: str, keep: int
) -> NoReturn:
    code = 1
    try:
        os.setsid()
        if os.fork() == 0:
            for number, target in (
                (0, os.devnull),
                (1, directory / f"{name}.stdout.log"),
                (2, directory / f"{name}.stderr.log"),
            ):
                descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.closerange(3, keep)
            os.closerange(max(keep + 1, 3), os.sysconf("SC_OPEN_MAX"))
            work()
        code = 0
    except BaseException as error:  # noqa: BLE001 - the log of the daemon takes whatever it is
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        # Nothing of the caller may run here too: no exit handlers, no buffers of pytest.
        os._exit(code)


def write_pid(path: Path, pid: int) -> None:
    """Name a process in a file that is never seen half written."""
    fresh = path.with_suffix(f".{pid}.tmp")
    fresh.write_text(f"{pid}\n")
    fresh.replace(path)


class Stop:
    """Tells whether a process was asked to end, was orphaned of its home or is too old.

    It can be waited for with select: readable once something happened that is worth a look.
    """

    def __init__(self, directory: Path, life: float) -> None:
        self._directory = directory
        self._end = time.monotonic() + life
        self._asked = False
        self._pipe: tuple[int, int] | None = None

    def __enter__(self) -> Stop:
        # Not before: of the files that were open at a fork none is left.
        self._pipe = os.pipe()
        return self

    def __exit__(self, *_error: object) -> None:
        pipe, self._pipe = self._pipe, None
        for descriptor in pipe or ():
            os.close(descriptor)

    def fileno(self) -> int:
        """Return what becomes readable."""
        assert self._pipe is not None  # noqa: S101 - within the block only
        return self._pipe[0]

    def listen(self) -> Stop:
        """Take SIGINT and SIGTERM, and notice the end of a child."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: self.ask())
        signal.signal(signal.SIGCHLD, lambda _number, _frame: self._wake())
        return self

    def ask(self) -> None:
        """Ask from within."""
        self._asked = True
        self._wake()

    def _wake(self) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                os.write(self._pipe[1], b"x")

    def wait(self, sources: Sequence[socket.socket], seconds: float) -> list[socket.socket]:
        """Wait until a source can be read, or something happened; return those sources."""
        watched: list[socket.socket | Stop] = [self, *sources]
        found, _, _ = select.select(watched, [], [], seconds)
        if self in found:
            os.read(self.fileno(), 64)
        return [one for one in found if isinstance(one, socket.socket)]

    def wanted(self) -> bool:
        """Tell it."""
        return self._asked or time.monotonic() > self._end or not self._directory.is_dir()


class HostAgent:
    """Keeps one machine: a driver process, the port of ssh, the events.

    Args:
        directory: that of the instance.
        boot: seconds until the guest is up; None for never.
        degraded: it comes up without something.
        life: seconds.
    """

    def __init__(self, directory: Path, *, boot: float | None, degraded: bool, life: float) -> None:
        self.directory = directory
        self.boot = boot
        self.degraded = degraded
        self.life = life
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def run(self, stop: Stop) -> None:
        """Work until stopped or until the driver ends."""
        with stop:
            self._run(stop)

    def _run(self, stop: Stop) -> None:
        driver = self._driver()
        write_pid(self.directory / "qemu.pid", driver)
        write_pid(self.directory / "ha.pid", os.getpid())
        self.tell({"sshLocalPort": self.port})
        up = None if self.boot is None else time.monotonic() + self.boot
        while not stop.wanted() and os.waitpid(driver, os.WNOHANG) == (0, 0):
            if up is not None and time.monotonic() >= up:
                up = None
                state = {"degraded": True} if self.degraded else {}
                errors = {"errors": ["a requirement was not met"]} if self.degraded else {}
                self.tell({"running": True, **state, **errors, "sshLocalPort": self.port})
            left = _SLICE if up is None else min(max(up - time.monotonic(), 0), _SLICE)
            if stop.wait([self.listener], left):
                self._answer()
        with contextlib.suppress(ProcessLookupError):
            os.kill(driver, signal.SIGKILL)
        if not self.directory.is_dir():
            return
        self.tell({"exiting": True, "sshLocalPort": self.port})
        for name in ("qemu.pid", "ha.pid"):
            (self.directory / name).unlink(missing_ok=True)

    def _driver(self) -> int:
        child = os.fork()
        if child == 0:  # pragma: no cover - another program at once
            self.listener.close()
            # A name of its own in the list of processes, and an end of its own.
            os.execvp("sleep", ["sleep", str(int(self.life) + 1)])  # noqa: S606
        return child

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            connection, _address = self.listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-fake\r\n")

    def tell(self, status: dict[str, object]) -> None:
        """Write one event."""
        line = json.dumps({"time": now(), "status": status}, separators=(",", ":"))
        with (self.directory / "ha.stdout.log").open("a") as stream:
            stream.write(line + "\n")


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds; tell whether it did in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        select.select([], [], [], 0.005)
    return True
