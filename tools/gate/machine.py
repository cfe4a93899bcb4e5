"""What a run shares with other runs on this machine: the lock for nodes, and what killed runs left.

Names of clusters and of network namespaces are the machine's, so one run at a time makes nodes. The
file of the lock says who has it; a run that was killed could not take that away, and the next one
that gets the lock removes what it left.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

import leftovers

from . import report

MARK = leftovers.MARK
_WORK = "omk-g-"
_PATIENCE = 15.0
"""Seconds that what is just ending may take to go."""


class NodesLock:
    """The lock; kept until the process and the jobs that have it open are gone."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or _default()
        self._handle = -1
        self._held = False
        self._told = False

    def acquire(self) -> bool:
        """Try to get the lock; the first time, clean up after a run that was killed."""
        if self._held:
            return True
        if self._handle < 0:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not self._told:
                self._told = True
                report.say("    parts with nodes wait: another run on this machine has nodes")
            return False
        self._held = True
        self._clean_up()
        self._note()
        return True

    def descriptor(self) -> int:
        """Return the file descriptor of the lock."""
        return self._handle

    def release(self) -> int:
        """End a run: say what it left, remove it; return 1 if it left anything."""
        if not self._held:
            return 0
        patience = float(os.environ.get("OHMYKUBE_GATE_PATIENCE", _PATIENCE))
        code = leftovers.check(self._before, token(), patience)
        os.ftruncate(self._handle, 0)
        os.close(self._handle)
        self._handle, self._held = -1, False
        return code

    def _note(self) -> None:
        self._before = leftovers.observe()
        before = {kind: sorted(names) for kind, names in self._before.items()}
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps({"token": token(), "before": before}).encode(), 0)

    def _clean_up(self) -> None:
        text = os.pread(self._handle, 1 << 20, 0)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            document = json.loads(text)
            before = {kind: set(names) for kind, names in document["before"].items()}
            report.say("    a run was killed in the middle: removing what it left")
            leftovers.check(before, document["token"], 0.0)
            sys.stderr.flush()


class WorkDirectory:
    """A directory for the files of one run; what killed runs left of theirs goes with it."""

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            remove_unused()
            path = Path(tempfile.mkdtemp(prefix=_WORK))
            path.chmod(0o711)  # some tests run programs as other users
        self.path = path
        self.descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        """Who has it open, jobs too, uses the directory."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Remove it; never across a mount that somehow stayed: that could be anybody's data."""
        mounts = Path("/proc/self/mountinfo")
        if not mounts.exists() or f" {self.path}/" not in mounts.read_text():
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.descriptor)


def remove_unused() -> None:
    """Remove the directories of runs that were killed, and of which no job is left."""
    for path in Path(tempfile.gettempdir()).glob(f"{_WORK}*"):
        with contextlib.suppress(OSError):  # in use, or somebody else's
            if (path / "lock").stat().st_uid == os.geteuid():
                WorkDirectory(path).remove()


def token() -> str:
    """Return the mark of this run, which all processes below it carry in their environment."""
    if not os.environ.get(MARK):
        os.environ[MARK] = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return os.environ[MARK]


def _default() -> Path:
    if named := os.environ.get("OHMYKUBE_GATE_LOCK"):
        return Path(named)
    shared = Path("/run/lock")
    place = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    return place / "ohmykube-gate-nodes.lock"
