"""``index.db``: what can be found out again, kept so that it need not be.

When each blob was last hashed and used, and counters by day. Nothing depends on it: a damaged
index is moved to quarantine and begun anew, and where none can be written, or a newer ohmykube
wrote it, this process remembers for itself alone. References, leases and attached bundles are
files of their own, so that losing the index loses none of them; which blobs an image needs stands
in its manifest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
import weakref
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from ohmykube.errors import OhmykubeError
from ohmykube.kit import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ohmykube.cache.blobs import Blob
    from ohmykube.cache.layout import Layout

T = TypeVar("T")

SCHEMA = 1
"""In ``user_version``; an older index is begun anew, a newer one is left alone."""
VERIFIED_SECONDS = 30 * 24 * 3600.0
"""How long the record of a hash counts."""
TOUCH_SECONDS = 600.0
"""Uses nearer together than this count as one."""
_BUSY_SECONDS = 2.0
_LOST = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY)
"""What fails one use and leaves the index as good as it was."""
_TABLES = f"""
CREATE TABLE IF NOT EXISTS blob(
    digest TEXT PRIMARY KEY, size INTEGER, inode INTEGER, mtime_ns INTEGER,
    verified_at REAL, used_at REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter(
    day TEXT, metric TEXT, value INTEGER, PRIMARY KEY(day, metric)
) WITHOUT ROWID;
PRAGMA user_version = {SCHEMA};
"""


@dataclass(frozen=True, slots=True)
class Stamp:
    """How a blob's file looked; another one means that other bytes are possible."""

    size: int
    inode: int
    mtime_ns: int

    @classmethod
    def of(cls, blob: Blob) -> Stamp:
        """Return the stamp of a blob's file now; raises OSError."""
        status = blob.path.stat()
        return cls(blob.size, status.st_ino, status.st_mtime_ns)


class Index:
    """The index of one cache, for all threads of this process.

    Args:
        layout: the cache.
        now: Unix time, for tests.
    """

    def __init__(self, layout: Layout, now: Callable[[], float] = time.time) -> None:
        self._layout = layout
        self._now = now
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        self._why = ""
        self._verified: dict[str, tuple[Stamp, float]] = {}
        self._touched: dict[str, float] = {}
        self._pending: Counter[tuple[str, str]] = Counter()

    @property
    def trouble(self) -> str:
        """Return why this process remembers for itself alone; empty when it does not."""
        return self._why

    # -- hashes --------------------------------------------------------------------------------

    def is_verified(self, digest: str, stamp: Stamp) -> bool:
        """Tell whether the blob was hashed in the last 30 days when its file looked like this.

        A time in the future does not count: then the clock was set back, and it is not known by how
        much.
        """
        with self._lock:
            known = self._verified.get(digest)
            if known is None:
                known = self._use(lambda db: _read_stamp(db, digest), None)
        if known is None or known[0] != stamp:
            return False
        return 0 <= self._now() - known[1] <= VERIFIED_SECONDS

    def verified(self, digest: str, stamp: Stamp) -> None:
        """Remember that the blob was hashed just now."""
        now = self._now()
        row = (digest, stamp.size, stamp.inode, stamp.mtime_ns, now)

        def write(database: sqlite3.Connection) -> None:
            database.execute(
                "INSERT INTO blob(digest, size, inode, mtime_ns, verified_at, used_at)"
                " VALUES(?, ?, ?, ?, ?, 0) ON CONFLICT(digest) DO UPDATE SET size=excluded.size,"
                " inode=excluded.inode, mtime_ns=excluded.mtime_ns,"
                " verified_at=excluded.verified_at",
                row,
            )

        with self._lock:
            self._verified[digest] = (stamp, now)
            self._use(write, None)

    def forget(self, digests: Iterable[str]) -> None:
        """Drop what is known of blobs that are gone or damaged."""
        gone = list(digests)
        with self._lock:
            for digest in gone:
                self._verified.pop(digest, None)
                self._touched.pop(digest, None)
            self._use(
                lambda db: db.executemany("DELETE FROM blob WHERE digest=?", [(d,) for d in gone]),
                None,
            )

    # -- uses ----------------------------------------------------------------------------------

    def touch(self, digests: Iterable[str]) -> None:
        """Remember that blobs were used now."""
        now = self._now()
        with self._lock:
            fresh = {d for d in digests if abs(now - self._touched.get(d, 0.0)) >= TOUCH_SECONDS}
            if fresh:
                self._touched.update(dict.fromkeys(fresh, now))
                rows = [(digest, now) for digest in sorted(fresh)]
                self._use(
                    lambda db: db.executemany(
                        "INSERT INTO blob(digest, used_at) VALUES(?, ?)"
                        " ON CONFLICT(digest) DO UPDATE SET used_at=excluded.used_at",
                        rows,
                    ),
                    None,
                )

    def used(self) -> dict[str, float]:
        """Return digest to Unix time of the last use, of all blobs that were ever used."""
        query = "SELECT digest, used_at FROM blob WHERE used_at > 0"
        with self._lock:
            stored: dict[str, float] = self._use(lambda db: dict(db.execute(query).fetchall()), {})
            return {**stored, **self._touched}

    # -- counters ------------------------------------------------------------------------------

    def count(self, metric: str, n: int) -> None:
        """Add to today's counter."""
        day = time.strftime("%Y-%m-%d", time.gmtime(self._now()))
        with self._lock:
            self._pending[day, metric] += n
            self._use(self._write_counters, None)

    def counters(self) -> dict[str, dict[str, int]]:
        """Return day (``2026-01-31``, UTC) to metric to sum."""
        query = "SELECT day, metric, value FROM counter ORDER BY day, metric"
        with self._lock:
            rows: list[tuple[str, str, int]] = self._use(
                lambda db: db.execute(query).fetchall(), []
            )
            found: dict[str, dict[str, int]] = {}
            for day, metric, value in rows:
                found.setdefault(day, {})[metric] = value
            for (day, metric), value in self._pending.items():
                of_day = found.setdefault(day, {})
                of_day[metric] = of_day.get(metric, 0) + value
        return found

    def _write_counters(self, database: sqlite3.Connection) -> None:
        database.executemany(
            "INSERT INTO counter(day, metric, value) VALUES(?, ?, ?)"
            " ON CONFLICT(day, metric) DO UPDATE SET value=value+excluded.value",
            [(day, metric, value) for (day, metric), value in self._pending.items()],
        )
        self._pending.clear()

    # -- the database --------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Begin the index anew; what was counted is kept in quarantine."""
        with self._lock:
            self._close()
            self._set_aside(None)
            self._why = ""
            self._verified.clear()
            self._touched.clear()

    def _use(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Run ``action`` in one transaction; ``otherwise`` is returned where there is no index."""
        for _attempt in range(2):
            try:
                database = self._open()
                if database is None:
                    return otherwise
                with database:
                    return action(database)
            except sqlite3.Error as error:
                if not self._recover(error):
                    return otherwise
        return otherwise

    def _open(self) -> sqlite3.Connection | None:
        if self._database is not None or self._why:
            return self._database
        try:
            with files.explained(self._layout.index):
                if not self._layout.root.is_dir():
                    return None
                mode = self._make()
        except (OhmykubeError, OSError) as error:
            self._why = str(error)
            return None
        uri = f"file:{quote(str(self._layout.index))}?mode={mode}"
        with contextlib.ExitStack() as stack:
            database = sqlite3.connect(
                uri, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False
            )
            stack.callback(database.close)
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA:
                self._why = f"a newer ohmykube wrote {self._layout.index} (schema {version})"
                return None
            if mode == "rw" and version < SCHEMA:
                database.execute("PRAGMA journal_mode=WAL")
                database.executescript(_TABLES)
            database.execute("PRAGMA synchronous=NORMAL")
            stack.pop_all()
        weakref.finalize(self, database.close)
        self._database = database
        return database

    def _make(self) -> str:
        """Create an absent file with the rights of this cache; return the mode to open it with."""
        path = self._layout.index
        if files.is_strangers_link(path):
            raise OSError(errno.ELOOP, "it is a link that another user made", str(path))
        if not path.exists():
            modes = self._layout.modes
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, modes.file)
            try:
                files.hand_over(descriptor, modes)
            finally:
                os.close(descriptor)
        if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
            return "rw"
        # Even a reader needs a -shm beside a database in WAL mode, unless nobody else writes it.
        return "ro" if path.with_name(path.name + "-wal").exists() else "ro&immutable=1"

    def _recover(self, error: sqlite3.Error) -> bool:
        """Do what an error asks for; tell whether a second attempt makes sense."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _PASSING:
            return False
        seen = self._inode()
        self._close()
        if code in _LOST:
            with contextlib.suppress(OhmykubeError, OSError):
                self._set_aside(seen)
                return True
        self._why = str(error)
        return False

    def _inode(self) -> int | None:
        try:
            return self._layout.index.stat().st_ino
        except OSError:
            return None

    def _set_aside(self, seen: int | None) -> None:
        """Move the index to quarantine, unless another run has replaced the one that was seen."""
        with self._layout.exclusive("index", "the index of the cache", _BUSY_SECONDS):
            path = self._layout.index
            found = self._inode()
            if found is None or (seen is not None and found != seen):
                return
            self._layout.make(self._layout.quarantine)
            with files.explained(path):
                path.replace(self._layout.quarantine / f"index-{time.time_ns()}.db")
                for suffix in ("-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None


def _read_stamp(database: sqlite3.Connection, digest: str) -> tuple[Stamp, float] | None:
    query = "SELECT size, inode, mtime_ns, verified_at FROM blob WHERE digest=?"
    row = database.execute(query, (digest,)).fetchone()
    if row is None or row[0] is None:
        return None
    return Stamp(*row[:3]), row[3]
