"""Templates: prepared nodes, stopped and without identity, to be cloned.

::

    <data>/nspawn-templates/<key>/
      template.json     what it is; written last
      lower/            what the prepared node changed of its base image
      containerd/       its /var/lib/containerd
    <data>/nspawn-templates/tmp-*      half made or half removed

A clone gets both as copies that share every file which is never written in place. Below a node's
overlay nothing is, as overlayfs copies up before it writes; and of containerd's files the content
blobs and the layers of images are not. So a node needs no template once it was made.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import os
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.errors import IntegrityError, NotFoundError, ProviderError
from ohmykube.kit import files
from ohmykube.providers import template_file
from ohmykube.providers.base import NO_TEMPLATE
from ohmykube.providers.nspawn import tree_copy
from ohmykube.providers.nspawn.host_system import run_checked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ohmykube.providers.base import NewTemplate, Template
    from ohmykube.providers.nspawn.host_system import HostSystem
    from ohmykube.providers.nspawn.layout import NodeFiles

SCHEMA = 1
"""Raised when a template of before cannot be cloned by the code below."""

IDENTITY = (
    *("etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname", "etc/hosts", "etc/resolv.conf"),
    *("etc/ohmykube", "etc/ssh/ssh_host_*", "root/.ssh", "root/.ansible", "root/.cache"),
    *("var/lib/systemd/random-seed", "var/lib/systemd/timers", "var/lib/systemd/coredump"),
    *("var/log/*", "var/tmp/*", "tmp/*", "run/*"),
)
"""What makes a node itself, or is of one life of it: glob patterns below its root."""

CONTAINERD_IDENTITY = (
    *("io.containerd.grpc.v1.introspection", "tmpmounts/*"),
    "io.containerd.content.v1.content/ingest/*",
)
CONTAINERD_RUNNING = ("io.containerd.grpc.v1.cri/sandboxes/*", "io.containerd.runtime.v2.task/*/*")
"""What containerd keeps for pods and containers; a template has none."""

_IMMUTABLE = re.compile(
    r"io\.containerd\.content\.v1\.content/blobs/.|"
    r"io\.containerd\.snapshotter\.v1\.overlayfs/snapshots/[0-9]+/fs/."
)
SYNC_SECONDS = 600
_TEMPORARY = "tmp-"
_OVERLAY = "trusted.overlay."
_KEPT_ATTRIBUTES = ("trusted.overlay.opaque",)
_UNSHAREABLE = ("trusted.overlay.redirect", "trusted.overlay.metacopy")


@dataclass(frozen=True, slots=True)
class _Files:
    root: Path

    @property
    def record(self) -> Path:
        return self.root / "template.json"

    @property
    def lower(self) -> Path:
        return self.root / "lower"

    @property
    def containerd(self) -> Path:
        return self.root / "containerd"


def is_immutable(path: Path) -> bool:
    """Tell whether containerd never writes this file in place; relative to /var/lib/containerd."""
    return _IMMUTABLE.match(path.as_posix()) is not None


class TemplateStore:
    """The templates below one directory."""

    def __init__(self, host: HostSystem, root: Path) -> None:
        self._host = host
        self._root = root

    def all(self) -> list[Template]:
        """Return the whole templates, sorted by key."""
        found = [self._read(self._root / name) for name in sorted(self._names())]
        return [template for template in found if template is not None]

    def has(self, key: str) -> bool:
        """Tell whether a template is there, whole."""
        return self._read(self._root / key) is not None

    def _read(self, directory: Path) -> Template | None:
        return template_file.read(
            _Files(directory).record,
            SCHEMA,
            is_place=lambda key: key == directory.name,
            size=lambda: tree_copy.size(directory),
        )

    def keep(self, node: NodeFiles, new: NewTemplate) -> Template:
        """Make the files of a node that has ended a template; they are the node's no more.

        Without effect when the template is there. For the holder of the build lock.

        Raises:
            ProviderError, IntegrityError: the files cannot be one.
        """
        directory = self._root / new.key
        found = self._read(directory)
        if found is not None:
            return found
        containerd, _ = node.binds[0]
        _refuse_used(node, containerd)
        files.ensure_directory(self._root)
        temporary = _Files(self._temporary())
        temporary.root.mkdir(mode=0o700)
        node.upper.rename(temporary.lower)
        containerd.rename(temporary.containerd)
        strip(temporary.lower, IDENTITY)
        strip(temporary.containerd, CONTAINERD_IDENTITY)
        _tidy_attributes(temporary.lower)
        template_file.write(temporary.record, SCHEMA, new)
        # After a loss of power a template is whole or not there.
        sync = ["sync", "--file-system", str(temporary.root)]
        run_checked(self._host, "write the template to the disk", sync, timeout=SYNC_SECONDS)
        with self._held(fcntl.LOCK_EX):
            if directory.exists():
                self._discard(directory)
            temporary.root.rename(directory)
        files.sync_directory(self._root)
        return _need(self._read(directory), new.key)

    def clone(self, key: str, node: NodeFiles) -> None:
        """Give a node that has not been mounted yet the files of a template; repeatable.

        Raises:
            NotFoundError: there is no such template.
        """
        place = _Files(self._root / key)
        with self._held(fcntl.LOCK_SH):
            if not self.has(key):
                raise no_template(key)
            containerd, _ = node.binds[0]
            for target in (node.lower, containerd):
                files.remove_tree(target)
            tree_copy.copy_tree(place.lower, node.lower, lambda _path: True)
            tree_copy.copy_tree(place.containerd, containerd, is_immutable)
            with contextlib.suppress(OSError):  # on a read-only disk its age is not renewed
                template_file.used(place.record)

    def remove(self, key: str) -> None:
        """Remove a template; none is fine."""
        with self._held(fcntl.LOCK_EX):
            if key not in self._names():
                return
            discarded = self._discard(self._root / key)
        files.remove_tree(discarded)
        self._remove_if_empty()

    def _names(self) -> list[str]:
        """Return the names of all directories of templates, whole or damaged."""
        if not self._root.is_dir():
            return []
        return [path.name for path in self._root.iterdir() if not path.name.startswith(_TEMPORARY)]

    def _discard(self, directory: Path) -> Path:
        """Take a template out of use in one step; return where its files are then."""
        return directory.rename(self._temporary())

    def sweep(self) -> None:
        """Remove what is half made or half removed; for the holder of the build lock."""
        if self._root.is_dir():
            for path in self._root.glob(f"{_TEMPORARY}*"):
                files.remove_tree(path)
            self._remove_if_empty()

    def _remove_if_empty(self) -> None:
        with contextlib.suppress(OSError):
            self._root.rmdir()

    def _temporary(self) -> Path:
        return self._root / f"{_TEMPORARY}{uuid.uuid4().hex}"

    @contextlib.contextmanager
    def _held(self, how: int) -> Iterator[None]:
        """Hold the templates: together while cloning, alone while one comes or goes."""
        if not self._root.is_dir():
            yield
            return
        with files.explained(self._root):
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)


def no_template(key: str) -> NotFoundError:
    """Return the error for a template that is not there."""
    return NotFoundError(
        f"there is no template {key}",
        why="it was removed meanwhile, or was made below another OHMYKUBE_HOME",
        hint="the same command again, or ohmykube template list",
        id=NO_TEMPLATE,
    )


def _need(template: Template | None, key: str) -> Template:
    if template is None:
        raise no_template(key)
    return template


def strip(root: Path, patterns: tuple[str, ...]) -> None:
    """Remove everything below ``root`` that matches a pattern; no link is followed."""
    for pattern in patterns:
        for path in list(_matching(root, pattern.split("/"))):
            if path.is_dir() and not path.is_symlink():
                files.remove_tree(path)
            else:
                path.unlink(missing_ok=True)


def _matching(directory: Path, parts: Sequence[str]) -> Iterator[Path]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if not fnmatch.fnmatchcase(entry.name, parts[0]):
                continue
            if len(parts) == 1:
                yield directory / entry.name
            elif entry.is_dir(follow_symlinks=False):
                yield from _matching(directory / entry.name, parts[1:])


def _refuse_used(node: NodeFiles, containerd: Path) -> None:
    for pattern in CONTAINERD_RUNNING:
        for path in _matching(containerd, pattern.split("/")):
            raise ProviderError(
                f"node {node.root_dir.name} cannot become a template",
                why=f"containers were started on it ({path.name})",
                hint="make a template of a node on which only images were pulled",
                id="OMK-P-302",
            )


def _tidy_attributes(root: Path) -> None:
    """Take off what overlayfs keeps for the one mount that wrote these files.

    Raises:
        IntegrityError: a file that means something together with that mount only.
    """
    for directory, names, others in os.walk(root):
        for name in [".", *names, *others]:
            path = os.path.join(directory, name)  # noqa: PTH118 - "." must stay
            for attribute in os.listxattr(path, follow_symlinks=False):
                if attribute in _UNSHAREABLE:
                    raise IntegrityError(
                        f"{path} cannot be part of a template",
                        why=f"the kernel moved it without copying it ({attribute})",
                        hint="ohmykube up --template never",
                        id="OMK-P-303",
                    )
                if attribute.startswith(_OVERLAY) and attribute not in _KEPT_ATTRIBUTES:
                    os.removexattr(path, attribute, follow_symlinks=False)
