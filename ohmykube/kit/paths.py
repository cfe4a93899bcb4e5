"""Where things live: ``$OHMYKUBE_HOME``, else the XDG or macOS directories."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Absolute roots; nothing is created by naming them."""

    state: Path
    """Cluster records, keys, kubeconfigs, logs."""
    data: Path
    """Machines: node root file systems."""
    cache: Path
    """Artifacts, shared by all clusters; safe to delete."""


def from_environment(environ: Mapping[str, str] | None = None) -> Paths:
    """Return the roots for this user.

    ``OHMYKUBE_HOME`` moves all three; ``OHMYKUBE_CACHE_DIR`` moves the cache alone.

    Raises:
        UsageError: as ``expanded``.
    """
    env = os.environ if environ is None else environ
    if home := env.get("OHMYKUBE_HOME"):
        root = expanded(home)
        state, data, cache = root / "state", root / "data", root / "cache"
    else:
        user = absolute(home_of(env))
        if sys.platform == "darwin":
            support = user / "Library" / "Application Support" / "ohmykube"
            state, data = support / "state", support / "data"
            cache = user / "Library" / "Caches" / "ohmykube"
        else:
            state = _xdg(env.get("XDG_STATE_HOME"), user / ".local" / "state")
            data = _xdg(env.get("XDG_DATA_HOME"), user / ".local" / "share")
            cache = _xdg(env.get("XDG_CACHE_HOME"), user / ".cache")
    if moved := env.get("OHMYKUBE_CACHE_DIR"):
        cache = expanded(moved)
    return Paths(state=state, data=data, cache=cache)


def home_of(environ: Mapping[str, str]) -> Path:
    """Return the user's home directory: ``$HOME``, else that of the password database.

    Raises:
        UsageError: neither knows one.
    """
    try:
        return Path(environ.get("HOME") or Path.home())
    except RuntimeError as error:
        raise _nowhere("this user has no home directory", str(error)) from error


def expanded(text: str) -> Path:
    """Return a path as an absolute one, ``~`` and ``~user`` at its beginning expanded.

    Raises:
        UsageError: there is no such user, or it is relative and the working directory is gone.
    """
    try:
        return absolute(Path(text).expanduser())
    except RuntimeError as error:
        raise _nowhere(f"{text} is in the home directory of nobody", str(error)) from error


def _nowhere(message: str, why: str) -> UsageError:
    return UsageError(message, why=why, hint="set HOME, or write the path in full", id="OMK-U-370")


def absolute(path: Path) -> Path:
    """Return a path as an absolute one; only a relative one depends on the working directory.

    Raises:
        UsageError: it is relative, and the working directory is gone.
    """
    try:
        return path.absolute()
    except FileNotFoundError as error:
        raise UsageError(
            f"{path} is relative to a directory that is gone",
            why="the working directory was removed",
            hint="cd to another directory, or write the path in full",
            id="OMK-U-371",
        ) from error


def _xdg(value: str | None, default: Path) -> Path:
    # The XDG specification: a relative path is invalid and has to be ignored.
    return (Path(value) if value and Path(value).is_absolute() else default) / "ohmykube"


def collections_root() -> Path:
    """Return the directory for ``ANSIBLE_COLLECTIONS_PATH``: the wheel's copy or the checkout's."""
    package = Path(__file__).resolve().parents[1]
    bundled = package / "_collections"
    return bundled if bundled.is_dir() else package.parent / "collections"


def inventory_templates() -> Path:
    """Return the directory of inventory templates: the wheel's copy or the checkout's."""
    package = Path(__file__).resolve().parents[1]
    bundled = package / "inventory_templates"
    return bundled if bundled.is_dir() else package.parent / "inventory_templates"
