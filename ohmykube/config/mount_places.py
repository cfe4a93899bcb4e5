"""``spec.mounts`` on this host and on each node: what can be mounted, and what is in its way."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.config import mounts
from ohmykube.config.nodes import absolute
from ohmykube.config.problems import closest, dotted, echo, echo_path
from ohmykube.model.cluster import Mount

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ohmykube.config.mounts import Entry
    from ohmykube.config.nodes import PlacedNode
    from ohmykube.config.problems import Path as ValuePath
    from ohmykube.config.problems import Problem
    from ohmykube.config.yaml_source import Source
    from ohmykube.model.cluster import Node

FIELD: ValuePath = ("spec", "mounts")


class Placer:
    """Gives nodes their mounts; collects what is wrong."""

    def __init__(self, source: Source, base: Path, *, desired: bool, nodes_known: bool) -> None:
        """Take what there is to compare with.

        Args:
            source: the document as it was written.
            base: directory that relative paths are taken from.
            desired: it is to be brought about, so this host must have what is mounted.
            nodes_known: the nodes are those that the document means.
        """
        self._source = source
        self._base = base
        self._desired = desired
        # A flag that takes nodes away takes their mounts with them.
        self._all_there = nodes_known and not any("count" in path for path in source.flags)
        self.problems: list[Problem] = []

    def place(self, entries: Sequence[Entry], placed: Sequence[PlacedNode]) -> list[PlacedNode]:
        """Return the nodes with their mounts, in the order in which those are made."""
        found: dict[str, list[tuple[Mount, ValuePath]]] = {one.node.name: [] for one in placed}
        for number, entry in enumerate(entries):
            path: ValuePath = (*FIELD, number)
            host = self._host(entry.host, path)
            mount = Mount(host=host, node=entry.node, read_only=entry.read_only)
            for name in self._names(entry, placed, path):
                found[name].append((mount, path))
        result = []
        for one in placed:
            ordered = sorted(found[one.node.name], key=lambda pair: pair[0].node)
            if self._desired:
                self._together(one.node, ordered)
            alone = tuple(mount for mount, _ in ordered)
            result.append(replace(one, node=replace(one.node, mounts=alone)))
        return result

    def _add(self, path: ValuePath, text: str) -> None:
        problem = self._source.problem(path, text)
        if problem not in self.problems:  # the same of each node
            self.problems.append(problem)

    def _names(self, entry: Entry, placed: Sequence[PlacedNode], path: ValuePath) -> Iterator[str]:
        if isinstance(entry.nodes, str):
            role = mounts.ROLES.get(entry.nodes)
            yield from (one.node.name for one in placed if role in (None, one.node.role))
            return
        known = [one.node.name for one in placed]
        for name in entry.nodes:
            if name in known:
                yield name
            elif self._all_there and self._desired:
                text = f"has no such node: {echo(name)}{closest(name, known)}"
                self._add((*path, "nodes"), text)

    def _host(self, text: str, path: ValuePath) -> Path:
        """Return where the path leads on this host; look whether it can be mounted.

        A record has that already. Were it to follow links again, whoever can write beside what is
        mounted, such as a node, could let the next start mount anything.
        """
        place = Path(os.path.normpath(absolute(text, self._base)))
        if not self._desired:
            return place
        base = absolute(".", self._base)
        inside = not text.startswith(("/", "~")) and place.is_relative_to(base)
        why = _unusable(place, base if inside else None)
        if why:
            self._add((*path, "host"), why)
            return place
        return place.resolve()

    def _together(self, node: Node, ordered: Sequence[tuple[Mount, ValuePath]]) -> None:
        """Look whether one node can have all of them, and its files beside them."""
        for number, (mount, path) in enumerate(ordered):
            for file in node.files:
                if mounts.is_within(file.path, mount.node):
                    text = f"hides {echo(file.path)}, which `files` puts on {node.name}"
                    self._add((*path, "node"), text)
            around = [
                pair for pair in ordered[:number] if mounts.is_within(mount.node, pair[0].node)
            ]
            if not around:
                continue
            outer, other = around[-1]
            if outer.node == mount.node:
                text = f"is {mount.node} in {dotted(other)} too, for node {node.name}"
                self._add((*path, "node"), text)
                continue
            point = outer.host / Path(mount.node).relative_to(outer.node)
            if point.exists() and mount.host.exists() and point.is_dir() is not mount.host.is_dir():
                text = f"is inside of {dotted(other)}, where {echo_path(point)} is of another kind"
                self._add((*path, "node"), f"{text}: a directory, or a file, only hides its like")
            elif not point.exists():
                text = f"is inside of {dotted(other)}, where nothing is at {echo_path(point)}"
                self._add((*path, "node"), f"{text} to mount over; make it, or mount elsewhere")


def _unusable(place: Path, base: Path | None) -> str:
    """Return why a path of this host cannot be mounted; empty when it can.

    Args:
        place: it.
        base: the directory in which it is by its name, and so must be; None for any.
    """
    shown = echo_path(place)
    try:
        kind = stat.S_IFMT(place.stat().st_mode)
        real = place.resolve(strict=True)
    except OSError as error:
        with contextlib.suppress(OSError):  # it is no link
            target = echo_path(place.readlink())
            return f"is a link to {target}, which cannot be mounted: {error.strerror}"
        return f"cannot be mounted: {shown}: {error.strerror}"
    if kind not in (stat.S_IFDIR, stat.S_IFREG, stat.S_IFSOCK):
        return f"must be a directory, a file or a socket: {shown}"
    if base is not None and not real.is_relative_to(base.resolve()):
        where = echo_path(real)
        return (
            f"leads by a link to {where}, outside of {echo_path(base)}; if that is meant, write it"
        )
    return ""
