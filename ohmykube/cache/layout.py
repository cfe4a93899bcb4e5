"""Where things are below the cache directory, who may use them, and the locks on them.

oci/oci-layout, oci/index.json   a valid OCI image layout: other tools read it in place
oci/blobs/sha256/<hex>           every blob of every kind, mode 0444, written once
refs.json                        what the blobs are: kind, name, version, arch -> digest
attached/                        bundles whose blobs are read where they lie
leases/                          what running programs need; a lease ends with its process
index.db                         what can be found out again: sums checked, last use, counters
ingest/                          files on their way in; a crash leaves them here
locks/                           a lock file for each key; never unlinked: two could hold it
quarantine/                      what did not have the digest it should have
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from typing import IO, TYPE_CHECKING

from ohmykube.errors import LockedError, PermissionDenied
from ohmykube.kit import files, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ohmykube.kit.retry import Clock

HOLD_SECONDS = 2 * 3600.0
"""How long ``holding`` waits for another run: longer than the slowest build."""
_KEY = re.compile(r"[^A-Za-z0-9._-]")
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by ohmykube; safe to delete.\n"


class Layout:
    """The paths of one cache and the locks that its users share; naming it creates nothing.

    Args:
        root: the cache directory.
        excludes: see ``locks.probe``.
    """

    def __init__(
        self, root: Path, excludes: Callable[[Path], bool] = locks.another_is_kept_out
    ) -> None:
        self.root = root
        self.oci = root / "oci"
        self.blobs = self.oci / "blobs" / "sha256"
        self.ingest = root / "ingest"
        self.quarantine = root / "quarantine"
        self.locks = root / "locks"
        self.leases = root / "leases"
        self.attached = root / "attached"
        self.refs = root / "refs.json"
        self.index = root / "index.db"
        self._excludes = excludes
        self._probed = False

    @property
    def modes(self) -> files.Modes:
        """Return with which rights things are made here: shared if the root's group may write."""
        return files.modes_of(self.root)

    @property
    def writable(self) -> bool:
        """Tell whether this user may change the cache at all."""
        return os.access(self.root, os.W_OK)

    def prepare(self) -> None:
        """Make the directories before a first write, and make sure that locks work here.

        Raises:
            PermissionDenied: the cache cannot be written.
            PrerequisiteError: locks do not work on this file system.
            ResourceError: no space left.
        """
        marker = self.oci / "oci-layout"
        with self.reading():
            ready = marker.is_file() and self.ingest.is_dir() and self.locks.is_dir()
        if not ready:
            for directory in (self.blobs, self.ingest, self.locks):
                self.make(directory)
        if not self._probed:
            self._probe()
        if not ready:
            self.write(self.root / "CACHEDIR.TAG", _TAG, public=True)
            self.write(marker, '{"imageLayoutVersion":"1.0.0"}', public=True)

    def _probe(self) -> None:
        """Look once for each file system, not once for each run: the answer is written down."""
        note = self.locks / "flock-works"
        try:
            device = str(self.locks.stat().st_dev)
            known = note.is_file() and note.read_text() == device
            if not known and os.access(self.locks, os.W_OK):
                locks.probe(self.locks / "probe.lock", self.modes, self._excludes)
                self.write(note, device)
        except PermissionError as error:
            raise self._denied(error) from error
        self._probed = True

    def make(self, directory: Path) -> Path:
        """Make a directory of the cache; raises as ``prepare``."""
        modes = self.modes
        return files.ensure_directory(directory, modes.directory, modes.group)

    def write(self, path: Path, data: str, *, public: bool = False) -> None:
        """Replace a file of the cache in one step; raises as ``prepare``.

        Args:
            path: the file.
            data: its new content.
            public: everybody may read it, as other tools expect of an OCI layout.
        """
        modes = self.modes
        files.write(path, data, modes.file | 0o044 if public else modes.file, modes.group)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Say clearly when this user may not even look into the cache; raises PermissionDenied."""
        try:
            yield
        except PermissionError as error:
            raise self._denied(error) from error

    def _denied(self, error: PermissionError) -> PermissionDenied:
        return PermissionDenied(
            f"this user may not use the cache {self.root}",
            why=f"{error.filename}: {error.strerror}",
            hint="set OHMYKUBE_CACHE_DIR to a directory of yours, or share this one by a group: "
            f"chgrp -R GROUP {self.root} && chmod -R g+rwX {self.root}",
            id="OMK-I-303",
        )

    @contextlib.contextmanager
    def holding(self, key: str, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
        """See ``Store.holding``."""
        name = _lock_name(key)
        with self.using(), contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.exclusive(name, key, 0.0))
            except LockedError as error:
                if waiting is not None:
                    waiting(error.why or "another run")
                stack.enter_context(self.exclusive(name, key, HOLD_SECONDS))
            yield

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        """See ``Store.using``."""
        # A read-only cache is used as it is, whatever directories are missing.
        if self.writable or not os.access(self.root, os.R_OK | os.X_OK):
            self.prepare()
        with contextlib.ExitStack() as stack:
            stream = self._users_file_to_read()
            if stream is not None:
                fcntl.flock(stack.enter_context(stream), fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def alone(self, wait_seconds: float, clock: Clock, users: Callable[[], str]) -> Iterator[None]:
        """See ``Store.alone``; ``users`` tells who is known to use the cache."""
        self.prepare()
        with self._users_file() as stream:
            if not locks.acquire(stream, wait_seconds, clock):
                raise LockedError(
                    "the cache is in use by another run",
                    why=users() or None,
                    hint="wait until it has ended, then run the same command again",
                    id="OMK-I-105",
                )
            yield

    def exclusive(
        self, name: str, what: str, seconds: float
    ) -> contextlib.AbstractContextManager[int]:
        """Hold one lock file alone, waiting for it at most ``seconds``."""
        path = self.locks / f"{name}.lock"
        return locks.exclusive(path, what, wait_seconds=seconds, modes=self.modes)

    def _users_file(self) -> IO[str]:
        return locks.open_file(self.locks / "users.lock", self.modes)

    def _users_file_to_read(self) -> IO[str] | None:
        """Return the lock file; None where no lock is possible, as on a read-only file system."""
        try:
            return self._users_file()
        except (PermissionDenied, FileNotFoundError):
            with self.reading(), contextlib.suppress(FileNotFoundError):
                return (self.locks / "users.lock").open()  # flock asks for no right to write
        return None


def _lock_name(key: str) -> str:
    short = hashlib.sha256(key.encode()).hexdigest()[:16]
    return f"{_KEY.sub('_', key)[:80]}-{short}"
