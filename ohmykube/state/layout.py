"""Every file name below the state root, each written down once.

::

    <state root>/
      current                      name of the cluster that commands use when none is named
      clusters/<name>/             0700, one directory per cluster
        record.json  record.json.bak  lock  playbook.lock  kubeconfig  ssh_config
        cache-token  file-contents.json  ports-access.json  asked-services.json
        facts/  merged-kubeconfigs/  runs/<time>/
      .removing-<name>-<random>/   a cluster directory on its way out
      template-build/              only while templates are built
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from ohmykube.errors import PermissionDenied
from ohmykube.kit import files, shell

CURRENT = "current"
"""The name of the current cluster, one line."""

CURRENT_LOCK = "current.lock"
"""flock of whoever chooses the current cluster, or forgets it."""

CLUSTERS = "clusters"
"""Directory of the cluster directories."""

REMOVING_PREFIX = ".removing-"
"""A cluster directory is renamed to this in the state root before it is emptied."""

RECORD = "record.json"
"""What is remembered of a cluster (``state.record``)."""

RECORD_BACKUP = "record.json.bak"
"""The record as it was before the last write: the way back from a damaged one."""

LOCK = "lock"
"""flock of whoever changes the cluster; a note inside names the holder."""

PLAYBOOK_LOCK = "playbook.lock"
"""flock held by a running playbook, which may outlive its starter by a moment."""

KUBECONFIG = "kubeconfig"
"""Administrator's access to the cluster from this host."""

MERGED = "merged-kubeconfigs"
"""One file for each kubeconfig of the user that the cluster was merged into."""

SSH_CONFIG = "ssh_config"
"""OpenSSH client configuration with one host for each node."""

FACTS = "facts"
"""Ansible's fact cache."""

RUNS = "runs"
"""One directory per run: inventory, logs, what ansible-runner leaves."""

RUN_LOG = "run.log"
"""Everything one run said, in its run directory."""

ANSIBLE_LOG = "ansible.log"
"""Everything Ansible said, in the run directory."""

TUNNEL_LOG = "tunnel-{node}.log"
"""Output of the ssh process of a node's tunnel, in the run directory."""

FILE_CONTENTS = "file-contents.json"
"""Texts of the user's files for nodes, by their sha256, in the cluster directory."""

CACHE_TOKEN = "cache-token"  # noqa: S105 - the name of a file
"""Secret by which nodes read the served artifacts, in the cluster directory."""

PORTS_ACCESS = "ports-access.json"
"""How the process that holds ports of this host asks for services, in the cluster directory."""

ASKED_SERVICES = "asked-services.json"
"""Services that are exposed because somebody asked for them, in the cluster directory."""

TEMPLATES_LOCK = "templates.lock"
"""In the data directory: flock of whoever builds, uses or removes templates."""

CONTROL = "ssh"
"""Sockets of shared ssh connections, when the path is short enough for them."""

TEMPLATE_BUILD = "template-build"
"""Directory beside ``clusters``: what one building of templates needs while it lasts."""

RUNS_KEPT = 20
"""Older run directories are removed."""

_SOCKET_LONGEST = 104
"""sun_path of macOS, the shorter one; Linux has 108."""
_SOCKET_NAME = len("/") + 40 + len(".0123456789abcdef") + 1
"""What OpenSSH appends: ``%C``, a random suffix while it connects, the final zero."""


def control_directory(directory: Path) -> Path:
    """Make and return a private directory for ssh control sockets of one cluster.

    Below the cluster directory when that path is short enough for a unix socket, else in the
    temporary directory under a name that depends on the cluster directory.

    Raises:
        PermissionDenied: somebody else owns that name in the temporary directory.
    """
    inside = directory / CONTROL
    if len(os.fsencode(inside)) + _SOCKET_NAME <= _SOCKET_LONGEST:
        return files.ensure_directory(inside)
    outside = _outside(directory)
    files.ensure_directory(outside)
    status = outside.lstat()
    if outside.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionDenied(
            f"{outside} is not ours alone",
            why="ssh would share its connections with whoever made it",
            hint=f"ls -ld {shell.word(outside)}  (then remove it)",
            id="OMK-H-301",
        )
    return outside


def remove_control_directory(directory: Path) -> None:
    """Remove what ``control_directory`` has made beside the cluster directory, if it did.

    Sockets in it are those of connections that have ended.
    """
    outside = _outside(directory)
    with contextlib.suppress(FileNotFoundError):
        if outside.lstat().st_uid == os.getuid():
            files.remove_tree(outside)


def _outside(directory: Path) -> Path:
    mark = hashlib.sha256(os.fsencode(directory.absolute())).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"omk-{os.getuid()}-{mark}"
