"""Adds one cluster to the user's own kubeconfig, beside kubectl and beside ourselves.

kubectl makes ``<file>.lock`` while it writes; the same file is our lock, so neither loses the
other's change. The file is replaced whole, and only the entries with our names are touched.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import yaml

from ohmykube.errors import ConfigError, LockedError, TimeoutExceeded
from ohmykube.kit import files
from ohmykube.kit.retry import Clock, SystemClock, Wait, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_SECONDS = 5.0
_LISTS = ("clusters", "users", "contexts")


def merge(source: Path, target: Path, clock: Clock | None = None) -> None:
    """Put the entries of ``source`` into ``target`` and make its context the current one.

    Raises:
        ConfigError: ``target`` is no kubeconfig; it stays as it is.
        LockedError: somebody else has been changing it for ``LOCK_SECONDS``.
    """
    target = target.expanduser()
    real = target.resolve()  # a link stays a link
    files.ensure_directory(real.parent)
    with _locked(target, clock or SystemClock()):
        mine = _read(source)
        merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config"}
        if real.exists():
            merged = _read(real)
        for key in _LISTS:
            added = mine.get(key) or []
            names = {entry["name"] for entry in added}
            kept = [e for e in merged.get(key) or [] if e.get("name") not in names]
            merged[key] = [*kept, *added]
        merged["current-context"] = mine["current-context"]
        files.write(real, yaml.safe_dump(merged, sort_keys=False))


def _read(path: Path) -> dict[str, Any]:
    with files.explained(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = yaml.safe_load(text) or {}
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _not_one(path, str(error)) from error
    if not isinstance(content, dict):
        raise _not_one(path, "it is not a mapping")
    for key in _LISTS:
        entries = content.get(key) or []
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise _not_one(path, f"`{key}` is not a list of mappings")
    return content


def _not_one(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{path} is not a kubeconfig",
        why=why,
        hint="ohmykube kubeconfig --merge --into FILE  (another file)",
        id="OMK-U-111",
    )


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
