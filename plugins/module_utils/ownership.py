# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""What our modules wrote on a node, and copies of what they replaced there.

A path is claimed before it is written for the first time: what somebody else had there is copied. When it is
released, that copy is put back. What was never claimed is not ours and stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
import urllib.parse

from ansible_collections.ohmykube.cluster.plugins.module_utils import storage

MARK = "# Managed by ohmykube.\n"
COPIES = "replaced"
RECORD = "owned.json"


def _record():
    return os.path.join(storage.STATE_DIRECTORY, RECORD)


def _copy_of(path):
    return os.path.join(storage.STATE_DIRECTORY, COPIES, urllib.parse.quote(path, safe=""))


def is_marked(path):
    """Return True for a text file that says in its first line that we write it."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as stream:
        return stream.read(len(MARK)) == MARK.encode()


class Ownership:
    """The record of one node.

    ``files``: path -> whether there is a copy of what was there before. ``directories``: path -> whether it held
    something before. ``units``: full name -> its properties before.
    """

    def __init__(self):
        known = storage.read_json(_record(), {})
        self._files = dict(known.get("files", {}))
        self._directories = dict(known.get("directories", {}))
        self._units = dict(known.get("units", {}))
        self._lock = threading.Lock()

    def has(self, path):
        """Return True for a file that is ours."""
        return path in self._files or is_marked(path)

    def claim(self, path, ours=False):
        """Make a file ours that is about to be written or removed.

        What somebody else has there is copied; ``ours``: it is known to be ours already.
        """
        with self._lock:
            if path in self._files:
                return
            theirs = not ours and os.path.lexists(path) and not is_marked(path)
            if theirs:
                copy(path, _copy_of(path))
            self._files[path] = theirs
            self._save()

    def release(self, path):
        """Remove a file of ours and put back what was there before; return whether anything changed."""
        if not self.has(path):
            return False
        theirs = self._files.get(path) and os.path.lexists(_copy_of(path))
        changed = bool(theirs) or os.path.lexists(path)
        if theirs:
            copy(_copy_of(path), path)
        else:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
        if self._files.pop(path, None) is not None:
            self._save()
        if theirs:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_copy_of(path))
            self._tidy()
        return changed

    def claim_directory(self, path):
        """Note whether a directory for data, which belongs to what is installed, held something before."""
        if path not in self._directories:
            self._directories[path] = bool(contents(path))
            self._save()

    def release_directory(self, path):
        """Forget a directory; return True when all that it holds came with what we installed."""
        found = self._directories.pop(path, None)
        if found is not None:
            self._save()
        return found is False

    def is_made(self, path):
        """Return True for a directory that held nothing when it was claimed."""
        return self._directories.get(path) is False

    def claim_unit(self, name, found):
        """Note how a unit of somebody else was before we replaced it."""
        if name not in self._units:
            self._units[name] = found
            self._save()

    def release_unit(self, name):
        """Forget a unit; return how it was before, or an empty dictionary."""
        found = self._units.pop(name, None)
        if found is not None:
            self._save()
        return found or {}

    def _save(self):
        value = {"files": self._files, "directories": self._directories, "units": self._units}
        if not any(value.values()):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_record())
            self._tidy()
            return
        text = json.dumps(dict(value, schema=1), indent=1, sort_keys=True) + "\n"
        storage.write_atomically(_record(), text.encode(), mode=0o600)

    @staticmethod
    def _tidy():
        for directory in (os.path.dirname(_copy_of("")), storage.STATE_DIRECTORY):
            with contextlib.suppress(OSError):  # something else is kept there
                os.rmdir(directory)


def contents(path):
    """Return what a directory holds; none where there is no directory."""
    try:
        return [name for name in os.listdir(path) if name != "lost+found"]
    except (FileNotFoundError, NotADirectoryError):
        return []


def copy(source, target):
    """Copy a file or link with owner, mode and times; the target appears by a rename."""
    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        os.makedirs(directory, mode=0o700 if directory.endswith("/" + COPIES) else 0o755)
    found = os.lstat(source)
    with tempfile.TemporaryDirectory(prefix=".ohmykube-", dir=directory) as place:
        temporary = os.path.join(place, "copy")
        shutil.copy2(source, temporary, follow_symlinks=False)
        if os.geteuid() == 0:
            os.chown(temporary, found.st_uid, found.st_gid, follow_symlinks=False)
        os.replace(temporary, target)


def remove_empty(path):
    """Remove a directory in which no file is left, with the directories in it; return whether it went."""
    if os.path.islink(path) or not os.path.isdir(path):
        return False
    for directory, _names, _files in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):  # something is left in it
            os.rmdir(directory)
    return not os.path.isdir(path)


def is_empty(path):
    """Return True for a directory that ``remove_empty`` would remove."""
    return (
        os.path.isdir(path)
        and not os.path.islink(path)
        and not os.path.ismount(path)
        and not any(files for _directory, _names, files in os.walk(path))
    )
