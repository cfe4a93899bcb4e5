"""The private directory of one run: Ansible's configuration, environment and supervised start."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.ansible import supervise
from ohmykube.kit import failures, files, paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PASSED_ON = frozenset(
    {"HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "TMPDIR", "TZ", "XDG_RUNTIME_DIR"}
    | {"http_proxy", "https_proxy", "no_proxy", "all_proxy"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"}
)
"""Nothing else of our environment reaches Ansible: it may hold tokens, or ANSIBLE_… settings."""

# ssh_args replaces Ansible's default, which has a ControlPath and compression of its own: the
# ssh configuration of the run says both. It must not be empty, or the default comes back.
# Facts must not expire: a play on some of the nodes knows of the others by them. Ansible looks for
# results a thousand times a second by itself, which is a core's twentieth part while a node works.
_CONFIGURATION = """\
[defaults]
any_unparsed_is_failed = true
callback_result_format = yaml
collections_scan_sys_path = false
display_skipped_hosts = false
fact_caching = jsonfile
fact_caching_timeout = 0
forks = {forks}
gathering = smart
host_key_checking = true
inject_facts_as_vars = false
internal_poll_interval = 0.005
interpreter_python = /usr/bin/python3
nocolor = true
nocows = true
retry_files_enabled = false
timeout = 20

[inventory]
any_unparsed_is_failed = true
enable_plugins = ansible.builtin.yaml
unparsed_is_failed = true

[ssh_connection]
pipelining = true
retries = 2
ssh_args = -o BatchMode=yes
"""


PRIVATE_PREFIX = "ansible-"
"""Of directories that hold arguments of modules, secrets among them; they go with their run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """What ansible-runner is started with."""

    directory: Path
    """Its private data directory: new, 0700, removed after the run."""
    environment: Mapping[str, str]
    """The whole environment of ``ansible-playbook``."""


@contextlib.contextmanager
def prepared(
    run_dir: Path, *, fact_cache: Path, lock_file: Path, forks: int, wait_seconds: float
) -> Iterator[Workspace]:
    """Make the private directory of one run and remove it at the end.

    Args:
        run_dir: made 0700 when absent; the directory is made in it.
        fact_cache: directory of the cached facts of the cluster, made when absent.
        lock_file: held while anything of the run lives.
        forks: hosts worked on at the same time.
        wait_seconds: how long to wait for a previous run that is still ending.

    Raises:
        PermissionDenied, ResourceError, LockedError: as ``kit.files``.
    """
    # Ansible gets another working directory, so every path becomes absolute.
    run_dir, fact_cache, lock_file = (p.absolute() for p in (run_dir, fact_cache, lock_file))
    for needed in (run_dir, fact_cache, lock_file.parent):
        files.ensure_directory(needed)
    with files.explained(run_dir):
        directory = Path(tempfile.mkdtemp(prefix=PRIVATE_PREFIX, dir=run_dir))
    with failures.closing(lambda: files.remove_tree(directory)):
        binaries = files.ensure_directory(directory / "bin")
        files.write(binaries / "ansible-playbook", _starter(lock_file, wait_seconds), mode=0o700)
        configuration = directory / "ansible.cfg"
        files.write(configuration, _CONFIGURATION.format(forks=forks))
        yield Workspace(
            directory=directory,
            environment=_environment(os.environ, directory, configuration, fact_cache),
        )


def _starter(lock_file: Path, wait_seconds: float) -> str:
    # The module instead of the script `ansible-playbook`: it is there wherever Ansible can be
    # imported, with the same interpreter, whatever PATH says.
    python = sys.executable
    command = [python, "-I", "-S", supervise.__file__, str(os.getpid()), str(lock_file)]
    command += [f"{wait_seconds:g}", python, "-P", "-m", "ansible.cli.playbook"]
    return f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'


def _environment(
    ours: Mapping[str, str], directory: Path, configuration: Path, fact_cache: Path
) -> dict[str, str]:
    result = {name: value for name, value in ours.items() if name in _PASSED_ON}
    darwin = sys.platform == "darwin"
    search = [str(directory / "bin"), sysconfig.get_path("scripts"), ours.get("PATH", os.defpath)]
    result |= {
        "PATH": os.pathsep.join(search),
        "LC_ALL": "en_US.UTF-8" if darwin else "C.UTF-8",
        "TERM": "dumb",
        "ANSIBLE_CONFIG": str(configuration),
        "ANSIBLE_HOME": str(directory / "home"),
        "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"),
        "ANSIBLE_COLLECTIONS_PATH": str(paths.collections_root()),
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(fact_cache),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
    }
    if darwin:
        # Forked workers die in Apple's frameworks otherwise.
        result |= {"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES", "no_proxy": "*"}
    return result


def sweep(runs: Path) -> None:
    """Remove what killed runs left below ``runs``; the caller holds the cluster's lock."""
    for leftover in runs.glob(f"*/**/{PRIVATE_PREFIX}*"):
        if leftover.is_dir():
            files.remove_tree(leftover)
