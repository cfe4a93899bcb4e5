# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Artifacts on a node: what is installed, by which sum, and whether its files are still those."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.ohmykube.cluster.plugins.module_utils import (
    archive,
    node_state,
    ownership,
    programs,
    storage,
)

RECORD = storage.STATE_DIRECTORY + "/" + node_state.ARTIFACTS
WORKERS = 4
OPTIONS = {
    "name": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "checksum": {"type": "str", "required": True},
    "content_checksum": {"type": "str"},
    "dest": {"type": "path", "required": True},
    "mode": {"type": "str"},
    "unpack": {"type": "bool", "default": False},
    "members": {"type": "dict"},
}


class Inventory:
    """The record of installed artifacts: name -> checksum and {path: [size, mtime in ns]}."""

    def __init__(self, path=None, owned=None):
        self._path = path or RECORD
        self._known = storage.read_json(self._path, {}).get("artifacts", {})
        self._owned = owned or ownership.Ownership()

    def claim(self, path):
        """Keep what somebody else has at ``path``, which is about to be written."""
        self._owned.claim(path, ours=path in self.all_files())

    def _release(self, path):
        if self._owned.has(path):
            self._owned.release(path)
        else:
            _unlink(path)

    def files(self, name):
        """Return the paths that artifact ``name`` put on this node."""
        return sorted(self._known.get(name, {}).get("files", {}))

    def all_files(self):
        """Return the paths of all artifacts."""
        return {path for known in self._known.values() for path in known["files"]}

    def has(self, artifact):
        """Return True when this very artifact is installed and none of its files was touched since."""
        known = self._known.get(artifact["name"])
        if not known or known["source"] != source(artifact):
            return False
        return all(_mark(path) == mark for path, mark in known["files"].items())

    def add(self, artifact, paths):
        """Record an artifact that was just installed; files of its former version that are gone now are removed."""
        for path in set(self.files(artifact["name"])) - set(paths):
            self._release(path)
        self._known[artifact["name"]] = {
            "source": source(artifact),
            "files": {path: _mark(path) for path in paths},
        }
        self._save()

    def remove(self, name):
        """Remove an artifact's files, put back what they replaced, and forget it; return their paths."""
        paths = self.files(name)
        for path in paths:
            self._release(path)
        if self._known.pop(name, None) is not None:
            self._save()
        return paths

    def knows(self, name):
        return name in self._known

    def _save(self):
        if self._known:
            storage.write_json(self._path, {"schema": 1, "artifacts": self._known})
        else:
            _unlink(self._path)
            with contextlib.suppress(OSError):  # something else is kept there
                os.rmdir(os.path.dirname(self._path))


def source(artifact):
    """Return what identifies an artifact's content and place, as one comparable list."""
    return [
        artifact.get("checksum") or artifact["url"],
        artifact["dest"],
        artifact.get("mode") or "",
        bool(artifact.get("unpack")),
        sorted((artifact.get("members") or {}).items())
        and [list(pair) for pair in sorted(artifact["members"].items())],
    ]


def install_all(artifacts, fetcher, inventory):
    """Fetch and install ``artifacts`` in parallel, record each one; the first error is raised after all ended."""
    if not artifacts:
        return
    os.makedirs(storage.STATE_DIRECTORY, mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=storage.STATE_DIRECTORY) as directory:
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            futures = [
                pool.submit(_install, artifact, fetcher, directory, inventory.claim)
                for artifact in artifacts
            ]
        failure = None
        for artifact, future in zip(artifacts, futures):
            if future.exception() is None:
                inventory.add(artifact, future.result())
            else:
                failure = failure or future.exception()
        if failure is not None:
            raise failure


def _install(artifact, fetcher, directory, claim):
    url, checksum = artifact["url"], artifact.get("checksum") or ""
    if artifact.get("content_checksum") and programs.find("zstd") is None:
        url, checksum = with_identity(url), artifact["content_checksum"]
    if artifact.get("unpack"):
        path = os.path.join(directory, artifact["name"].replace("/", "_"))
        fetcher.download(url, path, checksum)
        written = archive.unpack(path, artifact["dest"], artifact.get("members"), claim)
        _unlink(path)
        return written
    target = artifact["dest"]
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".ohmykube-", dir=os.path.dirname(target))
    os.close(descriptor)
    try:
        fetcher.download(url, temporary, checksum)
        os.chmod(temporary, int(artifact.get("mode") or "0755", 8))
        claim(target)
        os.replace(temporary, target)
    except BaseException:
        _unlink(temporary)
        raise
    return [target]


def with_identity(url):
    """Return the URL of the same package, unpacked by the server."""
    return url + ("&" if "?" in url else "?") + "enc=identity"


def _mark(path):
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _unlink(path):
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)


def remove_tree(path):
    """Empty ``path`` and remove it; a mount point stays, empty. Return True when something was there."""
    if not os.path.lexists(path):
        return False
    if os.path.islink(path) or not os.path.isdir(path):
        _unlink(path)
        return True
    names = os.listdir(path)
    for name in names:
        full = os.path.join(path, name)
        if os.path.isdir(full) and not os.path.islink(full):
            remove_tree(full) if os.path.ismount(full) else shutil.rmtree(full, ignore_errors=True)
        else:
            _unlink(full)
    if os.path.ismount(path):
        return bool(names)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(path)
    return True
