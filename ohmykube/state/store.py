"""Cluster directories and their records: whole or not at all, one writer at a time.

Reading never makes a file or directory. Writing happens under the cluster's lock; a crash at any
instant leaves the old record or the new one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import os
import pwd
import threading
import uuid
from typing import TYPE_CHECKING

from ohmykube.errors import IntegrityError, LockedError, NotFoundError, PermissionDenied, UsageError
from ohmykube.kit import failures, files, locks, shell
from ohmykube.model import names as name_rule
from ohmykube.state import layout, locking, record, trash
from ohmykube.state.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ohmykube.kit.retry import Clock

NEWER = "OMK-H-303"
"""Id of the IntegrityError for what a newer release wrote: it knows best what belongs to it."""

UPDATE_WAIT_SECONDS = 30.0
"""How long a single update waits for a lock that it does not hold already."""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class StateStore:
    """All clusters below one state root; touches nothing until a method is called.

    May be shared by threads of a process: whoever entered ``locked`` holds the lock for all of
    them, and updates follow one another.
    """

    def __init__(
        self,
        root: Path,
        *,
        now: Callable[[], dt.datetime] = _now,
        clock: Clock | None = None,
    ) -> None:
        self.root = root
        self._now = now
        self._clock = clock
        self._locks = locking.ClusterLocks(clock)
        self._guard = threading.RLock()

    # -- reading ---------------------------------------------------------------------------------

    def names(self) -> tuple[str, ...]:
        """Return the sorted names of all clusters that have a record, damaged ones included.

        Raises:
            PermissionDenied: the directory cannot be listed.
        """
        clusters = self.root / layout.CLUSTERS
        with _readable(clusters):
            try:
                entries = [entry.name for entry in os.scandir(clusters)]
            except (FileNotFoundError, NotADirectoryError):
                return ()
        return tuple(sorted(n for n in entries if name_rule.is_name(n) and self.exists(n)))

    def directory(self, name: str) -> Path:
        """Return the directory of a cluster, which need not exist.

        Raises:
            UsageError: ``name`` cannot be the name of a cluster (a path, for example).
        """
        if not name_rule.is_name(name):
            raise UsageError(
                f"{ascii(name)[:82]} is not a cluster name",
                why=f"a cluster name has {name_rule.RULE}",
                hint="ohmykube list",
                id="OMK-H-302",
            )
        return self.root / layout.CLUSTERS / name

    def exists(self, name: str) -> bool:
        """Tell whether there is a record, whole or damaged."""
        directory = self.directory(name)
        return any(_is_there(directory / file) for file in (layout.RECORD, layout.RECORD_BACKUP))

    def read(self, name: str) -> Record | None:
        """Return what is remembered of a cluster; None when there is no such cluster.

        Raises:
            IntegrityError: the record is damaged, or was made by a newer release.
            PermissionDenied: it cannot be read.
        """
        path = self.directory(name) / layout.RECORD
        if not self.exists(name):
            return None
        found = self._load(path)
        if isinstance(found, Record) and found.name != name:
            found = record.DamagedRecord(f'it is the record of cluster "{found.name}"')
        if isinstance(found, Record):
            return found
        if isinstance(found, record.NewerRecord):
            raise IntegrityError(
                f'cluster "{name}" was made by a newer version of ohmykube',
                why=f"{path} has schema {found}, this version knows schema {record.SCHEMA}",
                hint="pip install --upgrade ohmykube",
                id=NEWER,
            )
        raise IntegrityError(
            f'the record of cluster "{name}" is damaged; the machines are as they were',
            why=f"{path}: {found}",
            hint=self._way_back(path),
            id="OMK-H-304",
        )

    def need(self, name: str) -> Record:
        """Return the record of a cluster that must exist.

        Raises:
            NotFoundError: no such cluster; names those that exist.
        """
        found = self.read(name)
        if found is None:
            raise NotFoundError(
                f'no cluster "{name}"',
                why=f"known clusters: {', '.join(self.names()) or 'none'}",
                hint="ohmykube list",
                id="OMK-H-305",
            )
        return found

    def current(self) -> str | None:
        """Return the cluster that commands use when none is named, if one was chosen."""
        path = self.root / layout.CURRENT
        with _readable(path):
            try:
                name = path.read_text("utf-8", errors="replace").strip()
            except FileNotFoundError:
                return None
        return name if name_rule.is_name(name) else None

    # -- locking ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self, name: str, *, wait_seconds: float = 0.0) -> Iterator[int]:
        """Hold the cluster while the block runs; gives the lock's file descriptor.

        May be entered again by the same store; who entered first leaves last. Temp files of a
        killed run are swept. A cluster directory in which the block leaves nothing is removed.

        Raises:
            LockedError: another run holds it; names the holder.
            PermissionDenied: the directory cannot be written.
        """
        directory = self.directory(name)
        with self._locks.hold(name, directory, wait_seconds) as (descriptor, first):
            if first:
                files.sweep(directory)
                trash.sweep(self.root)

            def leave() -> None:
                if first and locking.is_bare(directory):
                    trash.discard(directory, self.root)

            with failures.closing(leave):
                yield descriptor

    def is_busy(self, name: str) -> bool:
        """Tell whether a run works on this cluster now; quick, blocks no other run."""
        return locking.is_held(self.directory(name) / layout.LOCK)

    # -- writing ---------------------------------------------------------------------------------

    def create(self, new: Record) -> Record:
        """Write the first record of a cluster and return it as written.

        ``id`` is made up when it is empty.

        Raises:
            LockedError: there is a record of that name already.
        """
        with self.locked(new.name, wait_seconds=UPDATE_WAIT_SECONDS), self._guard:
            if self.exists(new.name):
                raise LockedError(
                    f'there is a cluster "{new.name}" already',
                    hint=f"ohmykube status --name {new.name}",
                    id="OMK-H-307",
                )
            made = dataclasses.replace(
                new, id=new.id or str(uuid.uuid4()), created=self._stamp(), serial=0
            )
            return self._write(made)

    def update(self, name: str, change: Callable[[Record], Record]) -> Record:
        """Replace the record by what ``change`` makes of it, and return it as written.

        Raises:
            NotFoundError: no such cluster.
            IntegrityError: the record on disk is damaged; it stays as it is.
        """
        directory = self.directory(name)
        if not directory.is_dir():
            self.need(name)
        with self.locked(name, wait_seconds=UPDATE_WAIT_SECONDS), self._guard:
            old = self.need(name)
            new = change(old)
            return self._write(dataclasses.replace(new, name=name, id=old.id, created=old.created))

    def restore(self, name: str) -> Record:
        """Put the last good copy in the place of a damaged record.

        Raises:
            IntegrityError: the copy is damaged too.
            NotFoundError: there is no copy.
        """
        with self.locked(name, wait_seconds=UPDATE_WAIT_SECONDS), self._guard:
            path = self.directory(name) / layout.RECORD_BACKUP
            if not path.exists():
                raise NotFoundError(
                    f'cluster "{name}" has no copy of its record', why=f"{path} is not there"
                )
            found = self._load(path)
            if not isinstance(found, Record):
                raise IntegrityError(f"the copy {path} is damaged as well", why=str(found))
            files.write(path.with_name(layout.RECORD), record.encode(found))
            return found

    def remove(self, name: str) -> bool:
        """Remove the directory of exactly this cluster; tell whether there was one.

        Raises:
            UsageError: ``name`` is not the name of a cluster.
            IntegrityError: the directory is a link, or not a directory.
        """
        directory = self.directory(name)
        if not _is_there(directory):
            return False
        if directory.is_symlink() or not directory.is_dir():
            raise IntegrityError(
                f"{directory} is not a directory of ours, so it was not removed",
                why="it is a link or a file",
                hint=f"ls -ld {shell.word(directory)}",
                id="OMK-H-308",
            )
        with self.locked(name), files.explained(directory):
            trash.discard(directory, self.root)
        if self.current() == name:
            with self._choosing():
                if self.current() == name:
                    self._forget_current()
        return True

    def set_current(self, name: str) -> None:
        """Choose the cluster that commands use when none is named; it must exist.

        A run that works on the cluster is no hindrance, and one that removes it takes the choice
        back.

        Raises:
            NotFoundError: no such cluster.
            IntegrityError: its record is damaged.
        """
        with self._choosing():
            self.need(name)
            files.write(self.root / layout.CURRENT, name + "\n")
            # Whoever removed it meanwhile may have looked before that was written.
            if self.read(name) is None:
                self._forget_current()
                self.need(name)

    def new_run(self, name: str) -> Path:
        """Make and return a private directory for one run; the last 20 are kept."""
        runs = self.directory(name) / layout.RUNS
        stamp = self._now().strftime("%Y%m%dT%H%M%S.%fZ")
        with self.locked(name, wait_seconds=UPDATE_WAIT_SECONDS), self._guard:
            files.ensure_directory(runs)
            older = sorted(entry for entry in runs.iterdir() if entry.is_dir())
            for entry in older[: max(0, len(older) - layout.RUNS_KEPT + 1)]:
                files.remove_tree(entry)
            return files.ensure_directory(_unused(runs / stamp))

    # -- inside ----------------------------------------------------------------------------------

    def _write(self, new: Record) -> Record:
        directory = self.directory(new.name)
        path = directory / layout.RECORD
        written = dataclasses.replace(
            new, updated=self._stamp(), serial=new.serial + 1, schema=record.SCHEMA
        )
        data = record.encode(written)
        if path.exists() and isinstance(self._load(path), Record):
            files.write(path.with_name(layout.RECORD_BACKUP), path.read_bytes())
        files.write(path, data)
        files.sync_directory(directory.parent)
        return written

    def _stamp(self) -> str:
        return self._now().isoformat(timespec="seconds")

    @staticmethod
    def _load(path: Path) -> Record | record.DamagedRecord | record.NewerRecord:
        with _readable(path):
            try:
                return record.decode(path.read_bytes())
            except FileNotFoundError:
                return record.DamagedRecord("it is missing, though its copy is there")
            except IsADirectoryError:
                return record.DamagedRecord("it is a directory")
            except (record.DamagedRecord, record.NewerRecord) as error:
                return error

    def _way_back(self, path: Path) -> str:
        copy = path.with_name(layout.RECORD_BACKUP)
        good = self._load(copy) if copy.exists() else None
        if isinstance(good, Record):
            return f"cp {copy} {path}  (whole, written {good.updated})"
        return (
            f"mv {path} {path}.damaged, then `ohmykube up` with the same cluster.yaml: "
            "machines that exist are found and kept"
        )

    def _choosing(self) -> contextlib.AbstractContextManager[int]:
        """Let nobody else choose or forget the current cluster meanwhile."""
        return locks.exclusive(
            self.root / layout.CURRENT_LOCK,
            "the choice of the current cluster",
            wait_seconds=UPDATE_WAIT_SECONDS,
            clock=self._clock,
        )

    def _forget_current(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.root / layout.CURRENT).unlink()


def _unused(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _is_there(path: Path) -> bool:
    # Not os.path.lexists: what may not be looked at is not the same as what is not there.
    with _readable(path):
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise PermissionDenied(
            f"cannot read {path}",
            why=f"{error.strerror}; {_owner(path)}",
            hint=f"ls -ld {shell.word(path.parent)} {shell.word(path)}  "
            "(then run as its owner, or chown that one path)",
            id="OMK-H-309",
        ) from error


def _owner(path: Path) -> str:
    for place in (path, *path.parents):
        with contextlib.suppress(OSError, KeyError):
            return f"{place} belongs to {pwd.getpwuid(place.stat().st_uid).pw_name}"
    return "its owner is not known"
