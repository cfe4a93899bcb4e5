"""Named plugins by entry-point group: listed without import, loaded on demand."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.errors import NotFoundError, PrerequisiteError

if TYPE_CHECKING:
    from importlib import metadata


_INFO = (".dist-info", ".egg-info")


@dataclass(frozen=True, slots=True)
class Plugin:
    """An entry point of an installed package."""

    name: str
    source: str
    """The package and its version, such as ``acme-tools 1.2``."""


def installed(group: str) -> tuple[Plugin, ...]:
    """Return what is registered in ``group``, by name and package; imports no plugin.

    When nothing is, as on most hosts, that is known after one look into each installed package.
    """
    if not _mentioned(group):
        return ()
    return tuple(Plugin(point.name, _source(point)) for point in _points(group))


def _mentioned(group: str) -> bool:
    """Tell whether an entry point of ``group`` may be installed, without ``importlib.metadata``."""
    wanted = group.encode()
    for place in map(Path, sys.path):
        if place.is_file():
            return True  # an archive: left to those who can look into it
        try:
            found = [one for one in os.scandir(place) if one.name.endswith(_INFO)]
        except OSError:
            continue
        for one in found:
            with contextlib.suppress(OSError):
                if wanted in Path(one.path, "entry_points.txt").read_bytes():
                    return True
    return False


def _points(group: str) -> tuple[metadata.EntryPoint, ...]:
    return _read(group, tuple((place, _changed(place)) for place in sys.path))


def _changed(place: str) -> int:
    """Return when something was installed in or removed from a place, in ns; 0 if it is none."""
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=32)
def _read(group: str, _places: tuple[tuple[str, int], ...]) -> tuple[metadata.EntryPoint, ...]:
    """Read the files of all installed packages, some 10 ms: once while the places stay the same."""
    from importlib import metadata  # noqa: PLC0415 - 30 ms, which a look at nothing does not cost

    found = metadata.entry_points(group=group)
    return tuple(sorted(found, key=lambda one: (one.name, _source(one))))


def _source(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def names(group: str) -> tuple[str, ...]:
    """Return the sorted names registered in ``group``; imports no plugin."""
    return tuple(dict.fromkeys(point.name for point in _points(group)))


def load(group: str, name: str, kind: str = "plugin") -> object:
    """Import and return the object registered as ``name``.

    Args:
        group: of entry points.
        name: in it.
        kind: what the user calls such an object.

    Raises:
        NotFoundError: no such plugin.
        PrerequisiteError: the plugin cannot be imported.
    """
    found = [point for point in _points(group) if point.name == name]
    if not found:
        known = ", ".join(names(group)) or "none"
        raise NotFoundError(
            f'there is no {kind} "{name}"',
            why=f"installed: {known}",
            hint="name one of these, or install the package that brings it",
        )
    point = found[0]
    try:
        loaded: object = point.load()
    except Exception as error:
        source = _source(point)
        raise PrerequisiteError(
            f'plugin "{name}" of {source} cannot be loaded',
            why=f"{type(error).__name__}: {error}",
            hint=f"pip install --force-reinstall {source.split()[0]}",
        ) from error
    return loaded
