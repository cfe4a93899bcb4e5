"""Processes that limactl left behind, ended only when their command line says whose they are."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.kit import process

if TYPE_CHECKING:
    from collections.abc import Callable

_PROC = Path("/proc")


def command(pid: int, proc: Path = _PROC) -> str:
    """Return the command line of a process; empty when there is none."""
    if proc.is_dir():
        try:
            return (proc / str(pid) / "cmdline").read_text(errors="replace").replace("\0", " ")
        except OSError:
            return ""
    # Without -ww some take the width of a terminal for the longest line, where there is none too.
    argv = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return process.run(argv, timeout=10, check=False).stdout


def end(pid_file: Path, place: Path, command_of: Callable[[int], str] = command) -> None:
    """End the process of a pid file if its command line names ``place``; remove the file.

    A pid file outlives its process, and the number is given to another one.
    """
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    if str(place) in command_of(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    pid_file.unlink(missing_ok=True)
