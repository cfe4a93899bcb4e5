"""Files and directories of this host that a description names and that are read later."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from ohmykube.config import nodes
from ohmykube.config.problems import dotted, echo_path

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from ohmykube.config import v1
    from ohmykube.config.problems import Path
    from ohmykube.config.yaml_source import Source

_MIRROR: Path = ("spec", "artifacts", "mirror")


def warnings(spec: v1.Spec, source: Source, base: pathlib.Path) -> list[str]:
    """Return what is not there, each once.

    No more than a warning: the cache may have all that a mirror would bring, and an agent the key.

    Args:
        spec: of a description that is to be brought about.
        source: where it was written.
        base: directory that relative paths are taken from.
    """
    found = [*_of_mirror(spec, source, base), *_of_keys(spec, base)]
    return list(dict.fromkeys(found))


def _of_mirror(spec: v1.Spec, source: Source, base: pathlib.Path) -> Iterator[str]:
    mirror = spec.artifacts.mirror or ""
    if mirror.startswith("/") and (why := _lacks(nodes.absolute(mirror, base), stat.S_ISDIR)):
        yield f"{source.flags.get(_MIRROR, dotted(_MIRROR))}: {echo_path(mirror)[1:-1]} {why}"


def _of_keys(spec: v1.Spec, base: pathlib.Path) -> Iterator[str]:
    if spec.provider.name != "ssh":
        return
    groups = (*spec.nodes.control_plane, *spec.nodes.workers)
    hosts = [host for group in groups for host in group.hosts or ()]
    for text in (spec.provider.ssh.identity_file, *(host.identity_file for host in hosts)):
        if text is not None and (why := _lacks(nodes.absolute(text, base), stat.S_ISREG)):
            yield f"identityFile: {echo_path(text)[1:-1]} {why}"


def _lacks(path: pathlib.Path, is_kind: Callable[[int], bool]) -> str:
    """Return why a path is not what it is used as; empty when it is."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    return "" if is_kind(mode) else f"is no {'directory' if is_kind is stat.S_ISDIR else 'file'}"
