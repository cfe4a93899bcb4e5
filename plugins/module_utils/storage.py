# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Files on a node: compare, write atomically, describe the difference."""

from __future__ import annotations

import contextlib
import errno
import grp
import json
import os
import pwd
import stat
import tempfile

from ansible_collections.ohmykube.cluster.plugins.module_utils import node_state

STATE_DIRECTORY = node_state.DIRECTORY
SECRET_TEXT = "(content is not shown)\n"


def write_atomically(path, data, mode=0o644, *, uid=0, gid=0, sync=True):
    """Replace ``path`` by ``data`` (bytes) through a temporary sibling; missing parents are made 0755."""
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".ohmykube-", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), uid, gid)
            if sync:
                os.fsync(stream.fileno())
        try:
            os.replace(temporary, path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            # A file that is mounted, as containers have them, can only be written in place.
            with open(path, "wb") as stream:
                stream.write(data)
            os.unlink(temporary)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def read_text(path, default=""):
    """Return the text of ``path``, or ``default`` when there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return default


def read_exactly(path):
    """Return the text of a file of others, whose bytes ``encode`` gives back; '' when there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def encode(text):
    """Return the bytes of a text that may have come from ``read_exactly``."""
    return text.encode("utf-8", "surrogateescape")


def read_json(path, default):
    """Return the JSON value in ``path``; a file that is absent or damaged gives ``default``."""
    try:
        return json.loads(read_text(path) or "null") or default
    except ValueError:
        return default


def write_json(path, value, mode=0o600):
    """Write ``value`` as JSON, atomically and synchronised to disk."""
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    write_atomically(path, text.encode(), mode=mode)


def owner_ids(owner, group):
    """Return (uid, gid) of two names or numbers; raises KeyError for an unknown name."""
    uid = int(owner) if str(owner).isdigit() else pwd.getpwnam(owner).pw_uid
    gid = int(group) if str(group).isdigit() else grp.getgrnam(group).gr_gid
    return uid, gid


class DesiredFile:
    """One file as it should be: text, mode (octal string) and owner, or its absence."""

    def __init__(
        self,
        path,
        content="",
        *,
        mode="",
        owner="root",
        group="root",
        state="present",
        sensitive=False,
    ):
        self.path = path
        self.content = content
        self.mode = int(mode or ("0600" if sensitive else "0644"), 8)
        self.owner = owner
        self.group = group
        self.state = state
        self.sensitive = sensitive

    @classmethod
    def from_params(cls, params):
        """Make one from a module's suboptions; keys that are None take their defaults."""
        return cls(**{key: value for key, value in params.items() if value is not None})

    @classmethod
    def like(cls, path, content):
        """Make one with mode and owner of the file that is there; those of a new file where none is."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return cls(path, content)
        mode = "%o" % stat.S_IMODE(found.st_mode)
        return cls(path, content, mode=mode, owner=str(found.st_uid), group=str(found.st_gid))

    def differs(self):
        """Return True when the node's file is not as desired."""
        try:
            found = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return self.state == "present"
        if self.state == "absent":
            return True
        if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) != self.mode:
            return True
        if os.geteuid() == 0 and (found.st_uid, found.st_gid) != owner_ids(self.owner, self.group):
            return True
        with open(self.path, "rb") as stream:
            return stream.read() != encode(self.content)

    def difference(self):
        """Return Ansible's diff structure for the change that ``apply`` would make."""
        before, after = "", ""
        if os.path.lexists(self.path):
            before = SECRET_TEXT if self.sensitive else read_text(self.path)
        if self.state == "present":
            after = SECRET_TEXT if self.sensitive else encode(self.content).decode(errors="replace")
        return {
            "before": before,
            "after": after,
            "before_header": self.path,
            "after_header": self.path,
        }

    def apply(self):
        """Make it so."""
        if self.state == "absent":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            return
        uid, gid = owner_ids(self.owner, self.group) if os.geteuid() == 0 else (0, 0)
        write_atomically(self.path, encode(self.content), self.mode, uid=uid, gid=gid)


def converge_files(files, check_mode, before=None):
    """Bring ``files`` to their desired state; return (paths changed, diffs).

    ``before`` is called with the path of each before it is written or removed.
    """
    changed, diffs = [], []
    for item in files:
        if not item.differs():
            continue
        changed.append(item.path)
        diffs.append(item.difference())
        if not check_mode:
            if before is not None:
                before(item.path)
            item.apply()
    return changed, diffs


FILE_OPTIONS = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "mode": {"type": "str"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"]},
    "sensitive": {"type": "bool"},
}
