"""Files between this host and a node, as one tar archive through the node's shell.

What a node sends is not trusted: nothing is written outside of the place that was asked for, and
links are made last, so that nothing is written through them.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ohmykube.errors import (
    IntegrityError,
    NodeError,
    NotFoundError,
    PermissionDenied,
    UsageError,
)
from ohmykube.kit import files

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from ohmykube.kit.sudo_user import SudoUser
    from ohmykube.steps.node_shell import NodeShell

SECONDS = 6 * 3600
_BLOCK = 1 << 16
HOME = "/root"
"""What relative paths of nodes start from."""
_LOOK = 'if [ -d "$1" ]; then echo directory; elif [ -e "$1" ]; then echo file; fi'
_DIRECTORY = "directory"
_SELF = "."
_NO_LINKS_OUT = (
    tarfile.AbsoluteLinkError,
    tarfile.LinkOutsideDestinationError,
    tarfile.SpecialFileError,
)


@dataclass(slots=True)
class Copied:
    """What was copied, and what was not."""

    count: int = 0
    """Files and links; directories are not counted."""
    skipped: list[str] = field(default_factory=list)
    """What is no file, directory or link, and links that lead out; one line each."""


def to_node(source: str, shell: NodeShell, target: str) -> Copied:
    """Copy a file, or a directory with all in it, to a node, where it belongs to root.

    Args:
        source: on this host; ``DIRECTORY/.`` for what is in a directory.
        shell: of the node.
        target: the new name there, or a directory that is there.

    Raises:
        NotFoundError: there is no such source, or no directory for it on the node.
        UsageError: a directory would have to take the place of a file.
        NodeError: the node could not write it.
    """
    kind, contents = _kind(Path(source)), _is_contents(source)
    if not kind or (contents and kind != _DIRECTORY):
        raise NotFoundError(f"there is no {source} on this host", id="OMK-N-550")
    target = posixpath.join(HOME, target)
    found, parent = _look(shell, target), target
    name = _SELF if contents else Path(os.path.normpath(Path(source).absolute())).name or _SELF
    if found != _DIRECTORY:
        on_node = f"node {shell.node}"
        _check_new(target, found, kind, on_node)
        above, new = posixpath.split(target.rstrip("/"))
        if _look(shell, above) != _DIRECTORY:
            raise _no_directory(above, on_node)
        if contents:
            shell(["mkdir", "--", target])
        parent, name = (target, _SELF) if contents else (above, new)
    done = Copied()

    def write(sink: IO[bytes]) -> None:
        with (
            _reading(),
            tarfile.open(
                fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT, errors="surrogateescape"
            ) as tar,
        ):
            real = os.path.realpath(source)
            tar.add(real, arcname=name, filter=lambda member: _admitted(member, done))

    argv = ["tar", "-xpf", "-", "--no-same-owner", "--no-overwrite-dir", "-C", parent]
    shell.feed(argv, write, SECONDS)
    return done


def from_node(shell: NodeShell, source: str, target: str, owner: SudoUser | None = None) -> Copied:
    """Copy a file, or a directory with all in it, from a node.

    Args:
        shell: of the node.
        source: there; ``DIRECTORY/.`` for what is in a directory.
        target: the new name on this host, or a directory that is there.
        owner: to whom it is to belong; None for whoever runs this.

    Raises:
        NotFoundError: there is no such source, or no directory for it on this host.
        UsageError: a directory would have to take the place of a file.
        NodeError: the node could not read it.
        IntegrityError: the node sent a path that leads out.
        PermissionDenied, ResourceError: this host could not write it.
    """
    contents = _is_contents(source)
    source = posixpath.join(HOME, source)
    kind = _look(shell, source)
    if not kind or (contents and kind != _DIRECTORY):
        raise NotFoundError(f"there is no {source} on node {shell.node}", id="OMK-N-550")
    # Links are followed that are named, and no others.
    parent, base = posixpath.split(source)
    if kind == _DIRECTORY:
        parent, base = source, _SELF
    name = _SELF if contents else posixpath.basename(posixpath.normpath(source)) or _SELF
    place, found = Path(os.path.realpath(target)), _kind(Path(target))
    if found != _DIRECTORY:
        _check_new(target, found, kind, "this host")
        if not place.parent.is_dir():
            raise _no_directory(str(place.parent), "this host")
        if contents:
            place.mkdir()
        else:
            place, name = place.parent, place.name
    receiver = _Receiver(place, base, name, owner)
    follow = ["--dereference"] if kind != _DIRECTORY else []
    argv = ["tar", "-cf", "-", *follow, "-C", parent, "--", base]
    try:
        shell.read(argv, receiver.take, SECONDS)
    except tarfile.TarError as error:
        raise NodeError(
            f"node {shell.node} has not sent all of {source}",
            why=str(error),
            hint="run the same command again",
            id="OMK-N-555",
        ) from error
    return receiver.done


class _Receiver:
    """Writes what a node sends, below one directory."""

    def __init__(self, place: Path, base: str, name: str, owner: SudoUser | None) -> None:
        self._place = place
        self._base = base
        self._name = name
        self._owner = owner
        self.done = Copied()

    def take(self, stream: io.BufferedReader) -> None:
        """Write all of an archive."""
        links: list[tarfile.TarInfo] = []
        modes: dict[Path, int] = {}
        with (
            files.explained(self._place / self._name),
            tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as tar,
        ):
            for sent in tar:
                member = self._checked(sent)
                if member is None:
                    continue
                self.done.count += not member.isdir()
                path = self._place / member.name
                if member.issym():
                    links.append(member)
                elif not (member.isdir() and path.is_dir()):  # one that is there stays as it is
                    tar.extract(member, self._place, filter="fully_trusted")
                    modes |= {path: sent.mode & 0o777} if member.isdir() else {}
            for link in links:
                tar.extract(link, self._place, filter="fully_trusted")
        while stream.read(_BLOCK):
            pass  # what stands after the end: a tar that cannot send it fails
        for path, mode in reversed(modes.items()):  # only now: one may forbid to write into it
            path.chmod(mode)

    def _checked(self, sent: tarfile.TarInfo) -> tarfile.TarInfo | None:
        """Return a member under its name and with its owner here; None when it is passed over."""
        named = sent.replace(name=self._renamed(sent.name), deep=False)
        if sent.islnk():
            named = named.replace(linkname=self._renamed(sent.linkname), deep=False)
        try:
            member = tarfile.data_filter(named, str(self._place))
        except _NO_LINKS_OUT:
            what = f"a link to {sent.linkname}, outside" if sent.issym() else "no file"
            self.done.skipped.append(f"{sent.name}: {what}")
            return None
        except tarfile.FilterError as error:
            raise self._leads_out(sent.name) from error
        mode = sent.mode & 0o777 | (0o700 if sent.isdir() else 0)
        owner = self._owner
        uid, gid = (owner.uid, owner.gid) if owner else (os.getuid(), os.getgid())
        return member.replace(mode=mode, uid=uid, gid=gid, uname="", gname="", deep=False)

    def _renamed(self, name: str) -> str:
        """Return a path of the archive as it is to be below the place."""
        inside = posixpath.normpath(_SELF if name == self._base else name)
        if inside.startswith("/") or inside.split("/")[0] == "..":
            raise self._leads_out(name)
        return posixpath.normpath(posixpath.join(self._name, inside))

    def _leads_out(self, name: str) -> IntegrityError:
        return IntegrityError(
            f"{name} of the node would be written outside of {self._place}",
            why="the node has sent such a path, or a link that is here leads out",
            hint="copy to an empty directory",
            id="OMK-N-551",
        )


def _admitted(member: tarfile.TarInfo, done: Copied) -> tarfile.TarInfo | None:
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        done.skipped.append(f"{member.name}: no file")
        return None
    done.count += not member.isdir()
    return member


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Name the file of this host that cannot be read."""
    try:
        yield
    except BrokenPipeError:
        raise  # the node takes no more, and says why
    except OSError as error:
        raise PermissionDenied(
            f"cannot read {error.filename}", why=error.strerror, id="OMK-N-554"
        ) from error


def _look(shell: NodeShell, path: str) -> str:
    return shell(["sh", "-c", _LOOK, "sh", path]).strip()


def _kind(path: Path) -> str:
    if path.is_dir():
        return _DIRECTORY
    return "file" if os.path.lexists(path) else ""


def _is_contents(path: str) -> bool:
    return path == _SELF or path.endswith("/.")


def _check_new(target: str, found: str, kind: str, where: str) -> None:
    """Look whether a name can be that of the copy; it is no directory."""
    if target.endswith("/"):
        raise _no_directory(target, where)
    if found and kind == _DIRECTORY:
        raise UsageError(
            f"{target} on {where} is a file, and cannot become a directory", id="OMK-N-552"
        )


def _no_directory(path: str, where: str) -> NotFoundError:
    return NotFoundError(f"there is no directory {path} on {where}", id="OMK-N-553")
