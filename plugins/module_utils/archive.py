# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Unpack a tar archive over a directory: regular files, links and directories, nothing outside."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import subprocess
import tarfile
import tempfile

from ansible_collections.ohmykube.cluster.plugins.module_utils import programs

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
COPY_BUFFER = 1 << 20


class ArchiveError(Exception):
    """The archive is damaged, or holds something that we do not put on a node."""


@contextlib.contextmanager
def opened(path):
    """Open an archive for one pass: plain, gzip, bzip2, xz, or zstd through the zstd program."""
    with open(path, "rb") as stream:
        magic = stream.read(4)
    try:
        if magic == ZSTD_MAGIC:
            with _zstd(path) as archive:
                yield archive
        else:
            with tarfile.open(path, mode="r|*", bufsize=COPY_BUFFER) as archive:
                yield archive
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveError("%s: %s" % (path, error)) from error


@contextlib.contextmanager
def _zstd(path):
    program = programs.find("zstd")
    if program is None:
        raise ArchiveError("%s is packed with zstd, and this node has no zstd" % path)
    argv = [program, "-dcq", "--long=27", path]
    pipe, environment = subprocess.PIPE, programs.environment()
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, env=environment) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|", bufsize=COPY_BUFFER) as archive:
                yield archive
            for _rest in iter(lambda: process.stdout.read(COPY_BUFFER), b""):
                pass
            errors = process.stderr.read().decode(errors="replace")
            if process.wait() != 0:
                raise ArchiveError("%s: %s" % (path, programs.last_lines(errors, 3)))
        finally:
            process.kill()  # no effect on one that has ended


def unpack(path, destination, members=None, before=None):
    """Unpack ``path`` below ``destination``; return the paths of files and links that were written.

    ``members`` maps archive members to absolute paths; then only those are taken, and all must be there.
    ``before`` is called with each path before it is written.
    """
    wanted = {posixpath.normpath(name): target for name, target in (members or {}).items()}
    written = []
    with opened(path) as archive:
        for member in archive:
            name = safe_name(member)
            if wanted:
                if name not in wanted:
                    continue
                target = wanted.pop(name)
            else:
                target = os.path.normpath(os.path.join(destination, name))
            if before is not None and not member.isdir():
                before(target)
            if _extract(archive, member, target, destination):
                written.append(target)
    if wanted:
        raise ArchiveError("%s has no member %s" % (path, ", ".join(sorted(wanted))))
    return written


def safe_name(member):
    """Return a member's normalised relative name; raises ArchiveError for one that leads outside."""
    name = posixpath.normpath(member.name)
    if name == ".." or name.startswith(("/", "../")):
        raise ArchiveError("member %r leads outside" % member.name)
    if not (member.isreg() or member.isdir() or member.issym()):
        raise ArchiveError(
            "member %r is neither a file, a directory nor a symbolic link" % member.name
        )
    if member.issym():
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
        if member.linkname.startswith("/") or target == ".." or target.startswith("../"):
            raise ArchiveError("link %r leads outside" % member.name)
    return name


def _extract(archive, member, target, destination):
    if member.isdir():
        if not os.path.isdir(target):
            os.makedirs(target, mode=0o755)
        return False
    directory = os.path.dirname(target)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    _refuse_detour(directory, destination)
    if member.issym():
        with tempfile.TemporaryDirectory(prefix=".ohmykube-", dir=directory) as place:
            temporary = os.path.join(place, "link")
            os.symlink(member.linkname, temporary)
            os.replace(temporary, target)
        return True
    descriptor, temporary = tempfile.mkstemp(prefix=".ohmykube-", dir=directory)
    with os.fdopen(descriptor, "wb") as stream:
        shutil.copyfileobj(archive.extractfile(member), stream, COPY_BUFFER)
        os.fchmod(stream.fileno(), member.mode & 0o755)
    os.replace(temporary, target)
    return True


def _refuse_detour(directory, destination):
    """Refuse a directory that a link below ``destination`` moves elsewhere; ``/`` may have such links."""
    root = os.path.realpath(destination)
    if root != "/" and not (os.path.realpath(directory) + "/").startswith(root + "/"):
        raise ArchiveError("%s lies outside %s" % (directory, destination))
