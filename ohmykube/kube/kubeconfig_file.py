"""Puts a cluster into the user's own kubeconfig and takes it out again, beside kubectl.

kubectl makes ``<file>.lock`` while it writes; the same file is our lock, so neither loses the
other's change. In the file only the entries with our names change.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

import yaml

from ohmykube.errors import ConfigError, LockedError, TimeoutExceeded
from ohmykube.kit import failures, files, shell, user_file
from ohmykube.kit.retry import Clock, SystemClock, Wait, until
from ohmykube.kube import kubeconfig_edit, yaml_edit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

LOCK_SECONDS = 5.0
LARGEST_BYTES = 16 << 20
"""A kubeconfig of a thousand clusters has less than half of it."""
_ANOTHER = "ohmykube kubeconfig --merge --into FILE  (another file)"


def merge(
    source: Path, target: Path, *, known: Sequence[str] = (), clock: Clock | None = None
) -> None:
    """Put the entries of ``source`` into ``target`` and make its context the current one.

    Args:
        source: the kubeconfig of a cluster of ours.
        target: the file.
        known: certificate authorities that the cluster had when it was merged before.
        clock: for tests.

    Raises:
        ConfigError: ``target`` is no kubeconfig, cannot be changed in part, or has entries of these
            names that are not ours; it stays as it is.
        LockedError: somebody else has been changing it for ``LOCK_SECONDS``.
        PermissionDenied, ResourceError: it cannot be written.
    """
    with files.explained(source):
        mine = yaml.safe_load(source.read_bytes())
    user_file.ensure_directory(target.parent)
    with _locked(target, clock or SystemClock()), _understood(target):
        old, name = _read(target), mine["current-context"]
        _refuse_theirs(target, old, mine, (*known, authority(source, name)))
        user_file.rewrite(target, kubeconfig_edit.merged(old, mine))


def remove(
    target: Path,
    name: str,
    *,
    authority: str,
    current: str,
    written: str | None = None,
    clock: Clock | None = None,
) -> bool:
    """Take our entries called ``name`` out of ``target``; tell whether there were any.

    Args:
        target: the file; an absent one holds nothing.
        name: of cluster, user and context.
        authority: the cluster's; an entry of the same name with another one is another cluster's.
        current: the context that becomes the current one again, if it is still there.
        written: how that stood in the file.
        clock: for tests.

    Raises:
        As ``merge``.
    """
    if not target.exists():
        return False
    with _locked(target, clock or SystemClock()), _understood(target):
        old = _read(target)
        theirs = kubeconfig_edit.not_ours(old, name, [authority])
        new = kubeconfig_edit.removed(old, name, current, written=written, keep=theirs)
        if new != old:
            user_file.rewrite(target, new)
        return new != old


def current_context(path: Path) -> str:
    """Return the current context of a kubeconfig; empty when there is none, or no such file.

    Raises:
        ConfigError: it is no kubeconfig.
    """
    with _understood(path):
        return kubeconfig_edit.current_context(_read(path))


def current_as_written(path: Path) -> str | None:
    """Return how the current context stands in a kubeconfig; None when there is none.

    Raises:
        ConfigError: it is no kubeconfig.
    """
    with _understood(path):
        return kubeconfig_edit.current_as_written(_read(path))


def authority(path: Path, name: str) -> str:
    """Return the certificate authority of a cluster in a kubeconfig, or an empty string.

    Raises:
        ConfigError: it is no kubeconfig.
    """
    with _understood(path):
        return kubeconfig_edit.authority_of(_read(path), name) or ""


def _read(path: Path) -> bytes:
    return user_file.read(path, LARGEST_BYTES)


def _refuse_theirs(
    target: Path, old: bytes, mine: Mapping[str, Any], authorities: Sequence[str]
) -> None:
    name = mine["current-context"]
    theirs = kubeconfig_edit.not_ours(old, name, authorities, mine)
    if theirs:
        raise ConfigError(
            f'{target} has entries called "{name}" that are not of this cluster',
            why=f"in {' and '.join(theirs)}; merging would replace them",
            hint=f"{_ANOTHER}\nor rename or delete these entries, then run the same command again",
            id="OMK-U-600",
        )


@contextlib.contextmanager
def _understood(target: Path) -> Iterator[None]:
    try:
        yield
    except yaml_edit.NotUnderstoodError as error:
        raise ConfigError(
            f"{target} cannot be changed without writing all of it anew",
            why=str(error),
            hint=_ANOTHER,
            id="OMK-U-113",
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{target} is not a kubeconfig", why=str(error), hint=_ANOTHER, id="OMK-U-111"
        ) from error


@contextlib.contextmanager
def _locked(target: Path, clock: Clock) -> Iterator[None]:
    lock = target.with_name(target.name + ".lock")
    try:
        with files.explained(lock):
            held = until(
                clock,
                Wait(seconds=LOCK_SECONDS, every=0.1),
                f"{lock} to go away",
                lambda: _take(lock),
            )
    except TimeoutExceeded as error:
        raise LockedError(
            f"{target} is being changed by another program",
            why=f"{lock} has been there for more than {LOCK_SECONDS:g} s",
            hint=f"rm {shell.word(lock)}  (when no kubectl is running)",
            id="OMK-U-112",
        ) from error
    with failures.closing(lambda: lock.unlink(missing_ok=True) if held else None):
        yield


def _take(lock: Path) -> bool | None:
    """Make the lock file; None when somebody holds it, False where nobody could hold one."""
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return None
    except OSError as error:
        # A directory that takes no lock takes none of kubectl's either; the file may be writable.
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return False
        raise
    return True
