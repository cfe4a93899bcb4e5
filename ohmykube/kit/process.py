"""The only door to other programs: argv lists, a time limit always, output kept for the error.

Children run in their own session, so Ctrl-C reaches us and not them; once ``kit.interrupt`` is set
a running child gets SIGTERM, two seconds, then SIGKILL.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from ohmykube.errors import OhmykubeError, PrerequisiteError
from ohmykube.kit import interrupt
from ohmykube.kit.line_reader import LineReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

GRACE_SECONDS = 2.0
_DRAIN_SECONDS = 0.5
_SLICE = 0.25
_TAIL_LINES = 8


class _Children:
    """What we started and did not detach; one that is garbage was waited for.

    Threads start programs while a signal handler, in the middle of anything, ends them all: a lock
    could be held by whom it interrupts. Each change of a dictionary, and its copy, is one step.
    """

    def __init__(self) -> None:
        self._known: dict[int, weakref.ref[subprocess.Popen[bytes]]] = {}

    def add(self, child: subprocess.Popen[bytes]) -> None:
        known, key = self._known, id(child)
        known[key] = weakref.ref(child, lambda _: known.pop(key, None))

    def __iter__(self) -> Iterator[subprocess.Popen[bytes]]:
        found = (reference() for reference in self._known.copy().values())
        return iter([child for child in found if child is not None])


_children = _Children()


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished program left; output is decoded as UTF-8 with replacement."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


class CommandFailed(OhmykubeError):
    """A program ended with a code other than 0, or did not end in time (``timed_out``).

    Callers turn it into an error of the class that suits what they were doing; one that reaches the
    user as it is counts as a bug, and its exit code says so.
    """

    default_id = "OMK-H-020"

    def __init__(self, result: Result, *, timed_out: bool = False) -> None:
        self.result = result
        self.timed_out = timed_out
        how = "did not end in time" if timed_out else f"failed with code {result.code}"
        super().__init__(f"`{result.argv[0]}` {how}", why=tail(result.stderr or result.stdout))


def tail(text: str, lines: int = _TAIL_LINES) -> str:
    """Return the last non-empty lines of ``text``."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def which(program: str) -> str | None:
    """Return the path of ``program`` on PATH, or None."""
    return shutil.which(program)


def _start(
    argv: Sequence[str],
    *,
    stdin: int | IO[bytes] | None,
    stdout: int | IO[bytes] | None,
    stderr: int | IO[bytes] | None,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    detached: bool = False,
) -> subprocess.Popen[bytes]:
    log.debug("run: %s", shlex.join(argv))
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        if not detached:
            _children.add(child)
        return child
    except FileNotFoundError as error:
        raise not_installed(argv[0], str(error)) from error
    except PermissionError as error:
        raise PrerequisiteError(f"`{argv[0]}` cannot be run", why=str(error)) from error


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    input: bytes | str | None = None,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> Result:
    """Run a program to its end and return its output.

    Args:
        argv: program and arguments; never a shell string.
        timeout: seconds before it is ended.
        input: bytes or text for its standard input; excludes ``stdin``.
        stdin: an open file as its standard input.
        stdout: an open file that takes its standard output (``Result.stdout`` is then empty).
        env: the whole environment of the child; None inherits ours.
        cwd: its working directory.
        check: raise ``CommandFailed`` on a code other than 0.

    Raises:
        CommandFailed: code other than 0 (with ``check``) or time limit passed.
        PrerequisiteError: the program is not there.
        Interrupted: a stop was asked for; the child was ended.
    """
    data = input.encode() if isinstance(input, str) else input
    source: int | IO[bytes] = subprocess.DEVNULL if stdin is None else stdin
    child = _start(
        argv,
        stdin=subprocess.PIPE if data is not None else source,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        env=env,
        cwd=cwd,
    )
    out, err, timed_out = _communicate(child, data, timeout)
    result = Result(
        tuple(argv),
        child.returncode,
        (out or b"").decode(errors="replace"),
        (err or b"").decode(errors="replace"),
    )
    if timed_out or (check and child.returncode != 0):
        raise CommandFailed(result, timed_out=timed_out)
    return result


def _communicate(
    child: subprocess.Popen[bytes], data: bytes | None, timeout: float
) -> tuple[bytes | None, bytes | None, bool]:
    out: bytes | None
    err: bytes | None
    left = timeout
    while True:
        try:
            out, err = child.communicate(data, timeout=min(_SLICE, max(left, 0.01)))
        except subprocess.TimeoutExpired:
            data = None  # communicate keeps what is still to be written
            left -= _SLICE
            ended = child.poll() is not None
            stop = interrupt.requested.is_set()
            if not (ended or stop or left <= 0):
                continue
            if not ended:
                end(child)
            out, err = _drain(child)
            if stop:
                raise interrupt.interrupted() from None
            return out, err, not ended
        except BaseException:
            end(child)
            _drain(child)
            raise
        else:
            return out, err, False


def _drain(child: subprocess.Popen[bytes]) -> tuple[bytes | None, bytes | None]:
    # A grandchild in a session of its own may hold the pipes open for ever: take what is there.
    try:
        return child.communicate(timeout=_DRAIN_SECONDS)
    except subprocess.TimeoutExpired as error:
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return error.output, error.stderr


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child and its process group: SIGTERM, ``GRACE_SECONDS``, SIGKILL to what is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_SECONDS)


def stream(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Result:
    """Run a program and hand each line of its output (both streams) to ``on_line`` as it comes.

    Raises: as ``run``; ``Result.stdout`` holds everything.
    """
    child = _start(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=cwd,
    )
    # The reader lives in a thread so that the wait below can look at the time and at interrupts.
    assert child.stdout is not None  # PIPE was asked for
    reader = LineReader(child.stdout, on_line)
    try:
        timed_out = _wait(child, timeout)
    finally:
        reader.join(GRACE_SECONDS)
    reader.check()
    result = Result(tuple(argv), child.returncode, reader.text, "")
    if timed_out or child.returncode != 0:
        raise CommandFailed(result, timed_out=timed_out)
    return result


def _wait(child: subprocess.Popen[bytes], timeout: float) -> bool:
    """Wait for the end; tell whether the time limit passed first."""
    left = timeout
    while True:
        try:
            child.wait(min(_SLICE, max(left, 0.01)))
        except subprocess.TimeoutExpired:
            left -= _SLICE
            if interrupt.requested.is_set():
                end(child)
                raise interrupt.interrupted() from None
            if left <= 0:
                end(child)
                return True
        except BaseException:
            end(child)
            raise
        else:
            return False


def contained(argv: Sequence[str]) -> list[str]:
    """Return the command line by which all that a program starts ends at once when we end.

    However that happens: a kill reaches us alone, and what installs packages would write on beside
    the next run. It gets a PID namespace of its own, which ends with its first process
    (``pid_namespaces(7)``). Linux, as root.

    Raises:
        PrerequisiteError: the program is not there.
    """
    if which(argv[0]) is None:
        raise not_installed(argv[0])
    alone = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
    return ending_with_us([*alone, *argv], "KILL")


def ending_with_us(argv: Sequence[str], signal_name: str = "TERM") -> list[str]:
    """Return the command line of what the kernel ends when the thread that started it ends.

    On Linux (``PR_SET_PDEATHSIG``); elsewhere the command line stays as it is.
    """
    if sys.platform != "linux":
        return [*argv]
    return ["setpriv", "--pdeathsig", signal_name, "--", *argv]


def not_installed(program: str, why: str | None = None) -> PrerequisiteError:
    """Return what is told about a program that is not there."""
    return PrerequisiteError(f"`{program}` is not installed", why=why, hint="ohmykube doctor --fix")


def interactive(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
    """Run a program on the user's own terminal and return its code."""
    log.debug("run: %s", shlex.join(argv))
    try:
        return subprocess.call(list(argv), env=None if env is None else dict(env))
    except FileNotFoundError as error:
        raise not_installed(argv[0], str(error)) from error


def end_all(grace: float = 0.4) -> None:
    """End all children except detached ones, for a process that must go now: SIGTERM, SIGKILL.

    Safe to call from a signal handler and from any thread; takes at most ``grace`` seconds.
    """
    deadline = time.monotonic() + grace
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in tuple(_children):
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, number)
        for child in tuple(_children):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(deadline - time.monotonic(), 0))


class Companion:
    """A child that works beside us, such as a tunnel, and must not outlive us.

    On Linux the kernel ends it when the *thread* that made it ends (PR_SET_PDEATHSIG), so make it
    in the main thread. Its output goes to ``log_file``; its standard input is a pipe that stays
    open until ``close``, so that a remote ``cat`` ends with it.
    """

    def __init__(self, argv: Sequence[str], log_file: Path) -> None:
        self.log_file = log_file
        with log_file.open("ab") as sink:
            self._child = _start(
                ending_with_us(argv),
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=sink,
                env=None,
                cwd=None,
            )

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def alive(self) -> bool:
        """Tell whether it still runs."""
        return self._child.poll() is None

    def close(self) -> None:
        """End it; safe to call twice."""
        if self.alive():
            end(self._child)
        if self._child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()


def detach(argv: Sequence[str], log_file: Path) -> int:
    """Start a program that outlives us, output to ``log_file``; return its process id.

    Raises:
        PrerequisiteError: the program is not there.
    """
    with log_file.open("ab") as sink:
        child = _start(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=None,
            cwd=log_file.parent,
            detached=True,
        )
    # Should it end before us, it must not stay a zombie that looks alive to whoever asks by pid.
    threading.Thread(target=child.wait, name=f"reap-{child.pid}", daemon=True).start()
    return child.pid
