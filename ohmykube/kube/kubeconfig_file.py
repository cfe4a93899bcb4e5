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
from ohmykube.kit import failures, files, user_file
from ohmykube.kit.retry import Clock, SystemClock, Wait, until
from ohmykube.kube import kubeconfig_edit, yaml_edit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_SECONDS = 5.0


def merge(source: Path, target: Path, clock: Clock | None = None) -> None:
    """Put the entries of ``source`` into ``target`` and make its context the current one.

    Raises:
        ConfigError: ``target`` is no kubeconfig, or cannot be changed in part; it stays as it is.
        LockedError: somebody else has been changing it for ``LOCK_SECONDS``.
        PermissionDenied, ResourceError: it cannot be written.
    """
    with files.explained(source):
        mine = yaml.safe_load(source.read_bytes())
    user_file.ensure_directory(target.parent)
    with _locked(target, clock or SystemClock()), _understood(target):
        user_file.rewrite(target, kubeconfig_edit.merged(_read(target), mine))


def remove(
    target: Path, name: str, *, authority: str, current: str, clock: Clock | None = None
) -> bool:
    """Take the entries called ``name`` out of ``target``; tell whether there were any.

    Args:
        target: the file; an absent one holds nothing.
        name: of cluster, user and context.
        authority: the cluster's; an entry of the same name with another one is another cluster's.
        current: the context that becomes the current one again, if it is still there.
        clock: for tests.

    Raises:
        As ``merge``.
    """
    if not target.exists():
        return False
    with _locked(target, clock or SystemClock()), _understood(target):
        old = _read(target)
        if kubeconfig_edit.authority_of(old, name) not in (None, authority):
            return False
        new = kubeconfig_edit.removed(old, name, current)
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


def authority(path: Path, name: str) -> str:
    """Return the certificate authority of a cluster in a kubeconfig, or an empty string.

    Raises:
        ConfigError: it is no kubeconfig.
    """
    with _understood(path):
        return kubeconfig_edit.authority_of(_read(path), name) or ""


def _read(path: Path) -> bytes:
    with files.explained(path):
        return path.read_bytes() if path.exists() else b""


@contextlib.contextmanager
def _understood(target: Path) -> Iterator[None]:
    another = "ohmykube kubeconfig --merge --into FILE  (another file)"
    try:
        yield
    except yaml_edit.NotUnderstoodError as error:
        raise ConfigError(
            f"{target} cannot be changed without writing all of it anew",
            why=str(error),
            hint=another,
            id="OMK-U-113",
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{target} is not a kubeconfig", why=str(error), hint=another, id="OMK-U-111"
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
            hint=f"rm {lock}  (when no kubectl is running)",
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
