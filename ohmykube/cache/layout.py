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

from ohmykube.errors import LockedError
from ohmykube.kit import files, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOLD_SECONDS = 2 * 3600.0
"""How long ``holding`` waits for another run: longer than the slowest build."""
_KEY = re.compile(r"[^A-Za-z0-9._-]")
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by ohmykube; safe to delete.\n"


class Layout:
    """The paths of one cache and the locks that its users share; naming it creates nothing."""

    def __init__(self, root: Path) -> None:
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

    def prepare(self) -> None:
        """Make the directories before a first write.

        Raises:
            PermissionDenied: the cache cannot be written.
            ResourceError: no space left.
        """
        marker = self.oci / "oci-layout"
        if marker.is_file() and self.ingest.is_dir() and self.locks.is_dir():
            return
        for directory in (self.blobs, self.ingest, self.locks):
            files.ensure_directory(directory)
        files.write(self.root / "CACHEDIR.TAG", _TAG, 0o644)
        files.write(marker, '{"imageLayoutVersion":"1.0.0"}', 0o644)

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
        self.prepare()
        with self._users_file() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """See ``Store.alone``."""
        self.prepare()
        with self._users_file() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(
                    "the cache is in use by another run",
                    hint="wait until it has ended, then run the same command again",
                    id="OMK-I-105",
                ) from None
            yield

    def exclusive(
        self, name: str, what: str, seconds: float
    ) -> contextlib.AbstractContextManager[int]:
        """Hold one lock file alone, waiting for it at most ``seconds``."""
        return locks.exclusive(self.locks / f"{name}.lock", what, wait_seconds=seconds)

    def _users_file(self) -> IO[str]:
        path = self.locks / "users.lock"
        with files.explained(path):
            return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")


def _lock_name(key: str) -> str:
    short = hashlib.sha256(key.encode()).hexdigest()[:16]
    return f"{_KEY.sub('_', key)[:80]}-{short}"
