"""Adds one cluster to the user's own kubeconfig, beside kubectl and beside ourselves.

kubectl makes ``<file>.lock`` while it writes; the same file is our lock, so neither loses the
other's change. The file is replaced in one step; in it only the entries with our names change.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import yaml

from ohmykube.errors import ConfigError, LockedError, TimeoutExceeded
from ohmykube.kit import files
from ohmykube.kit.retry import Clock, SystemClock, Wait, until
from ohmykube.kube import kubeconfig_edit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_SECONDS = 5.0


def merge(source: Path, target: Path, clock: Clock | None = None) -> None:
    """Put the entries of ``source`` into ``target`` and make its context the current one.

    Raises:
        ConfigError: ``target`` is no kubeconfig, or cannot be changed in part; it stays as it is.
        LockedError: somebody else has been changing it for ``LOCK_SECONDS``.
    """
    target = target.expanduser()
    real = target.resolve()  # a link stays a link
    files.ensure_directory(real.parent)
    with _locked(target, clock or SystemClock()):
        with files.explained(source):
            mine = yaml.safe_load(source.read_bytes())
        with files.explained(real):
            old = real.read_bytes() if real.exists() else b""
        try:
            new = kubeconfig_edit.merged(old, mine)
        except kubeconfig_edit.NotUnderstoodError as error:
            raise ConfigError(
                f"{real} cannot be changed without writing all of it anew",
                why=str(error),
                hint="ohmykube kubeconfig --merge --into FILE  (another file)",
                id="OMK-U-113",
            ) from error
        except ValueError as error:
            raise ConfigError(
                f"{real} is not a kubeconfig",
                why=str(error),
                hint="ohmykube kubeconfig --merge --into FILE  (another file)",
                id="OMK-U-111",
            ) from error
        files.write(real, new)


@contextlib.contextmanager
def _locked(target: Path, clock: Clock) -> Iterator[None]:
    lock = target.with_name(target.name + ".lock")

    def take() -> bool | None:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return None
        return True

    try:
        with files.explained(lock):
            until(clock, Wait(seconds=LOCK_SECONDS, every=0.1), f"{lock} to go away", take)
    except TimeoutExceeded as error:
        raise LockedError(
            f"{target} is being changed by another program",
            why=f"{lock} has been there for more than {LOCK_SECONDS:g} s",
            hint=f"rm {lock}  (when no kubectl is running)",
            id="OMK-U-112",
        ) from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
