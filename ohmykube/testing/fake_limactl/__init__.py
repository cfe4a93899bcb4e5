"""A limactl without machines, for tests: real files, real processes, real sockets, no guest.

It keeps its state in LIMA_HOME as the real one does and imitates its answers, exit codes and quirks
as recorded. What it reads from its environment:

``FAKE_LIMA_PROFILE``
    ``2.0.3`` (default) or ``2.2.0``: whose quirks.
``FAKE_LIMA_FAULTS``
    Faults that always happen, separated by commas: ``kind`` or ``kind@instance``.
``FAKE_LIMA_AS_ROOT``
    Not empty: behave as if root had called. The true user is not looked at.
``FAKE_LIMA_BOOT_SECONDS``, ``FAKE_LIMA_SLOW_SECONDS``
    How long a guest boots (0), and how much longer a call takes with the fault ``slow`` (0.2).
``FAKE_LIMA_LIFE_SECONDS``
    After that its processes end by themselves (900).

Faults that happen once are lines of the file ``_fake/faults`` in LIMA_HOME; see ``plant``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.testing.fake_limactl.faults import Fault, plant

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fault", "install", "plant", "processes", "reap"]


def install(directory: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Put a ``limactl`` into ``directory``, for PATH; return it.

    Args:
        directory: made when absent.
        environ: variables that this limactl always has, such as its profile.
    """
    directory.mkdir(parents=True, exist_ok=True)
    package = Path(__file__).resolve().parents[3]
    values = "\n".join(
        f"os.environ[{name!r}] = {value!r}" for name, value in (environ or {}).items()
    )
    program = directory / "limactl"
    # Not `python -m`: that reads the package twice, and a test calls this some hundred times.
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nsys.path.insert(0, {str(package)!r})\n{values}\n"
        "from ohmykube.testing.fake_limactl.program import run\nsys.exit(run())\n"
    )
    program.chmod(0o755)
    return program


def processes(home: Path) -> Mapping[Path, int]:
    """Return the processes that the pid files below a LIMA_HOME name and that live."""
    found = {}
    for path in sorted([*home.glob("*/*.pid"), *home.glob("_networks/*/*.pid")]):
        with contextlib.suppress(OSError, ValueError):
            pid = int(path.read_text())
            os.kill(pid, 0)
            found[path] = pid
    return found


def reap(home: Path) -> None:
    """End every process of a LIMA_HOME; for the end of a test."""
    for pid in processes(home).values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
