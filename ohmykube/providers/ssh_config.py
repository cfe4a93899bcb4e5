"""An OpenSSH client configuration with one ``Host`` entry per node, and a probe that uses it.

How OpenSSH reads a value decides how it is written here: most values are split at blanks unless in
double quotes, with backslash escapes, and expand ``%`` tokens; ``ProxyCommand`` takes the rest of
its line as it is, expands ``%`` tokens and hands it to a shell.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from ohmykube.errors import (
    ConfigError,
    IntegrityError,
    OhmykubeError,
    UnreachableError,
)
from ohmykube.kit import process
from ohmykube.providers import ssh_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ohmykube.model.machine import SshTarget

LONGEST_CONTROL_DIR = 45
"""A socket's path may have 104 bytes (macOS); ssh adds a slash, 40 for %C and 17 of its own."""

NO_JUMP = "none"
"""As ssh says it: no jump host, whatever else is configured."""

REFUSED = ("OMK-V-102", "OMK-V-354")
"""Error ids of ``probe`` when the node answers and refuses us: our key, or that we showed none."""

_QUICK_KEY_EXCHANGE = "KexAlgorithms -sntrup761*"
"""All of ssh's own but the one that takes a tenth of a second of processor time on both sides."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:%-]*")
_ADDRESS = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@$\\-]*")
_OF_THE_FILE = re.compile(r"@@@|remove with:|ssh-keygen -f|^Offending|^Add correct host key")
_JUMP = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?"
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9_.-]*)(:\d+)?"
)


def render(targets: Mapping[str, SshTarget], control_dir: Path, *, slowdown: int = 1) -> str:
    """Return the configuration's text; ``ssh -F <file> <node>`` then reaches a node.

    Args:
        targets: how to reach each node, by node name.
        control_dir: directory for the sockets of shared connections; connections are not shared
            when its path is longer than ``LONGEST_CONTROL_DIR`` bytes.
        slowdown: how many times longer than usual a node may take to answer.

    Raises:
        ConfigError: a value that ssh could not be given safely.
    """
    jumps: dict[str, SshTarget] = {}
    blocks = []
    for name in sorted(targets):
        blocks.append(_entry(name, targets[name]))
        jump = targets[name].jump
        if jump and jump != NO_JUMP:
            jumps.setdefault(_jump_host(jump), targets[name])
    for host, target in sorted(jumps.items()):
        # ssh reads this file for the jump host too, but none of the node's own lines.
        if host not in targets:
            blocks.append(_jump_entry(host, target))
    blocks.append(_shared(control_dir, slowdown))
    files = dict.fromkeys(path for one in targets.values() for path in one.jump_files)
    if files:
        blocks.append(_others(targets, files))
    return "\n".join(blocks)


def _entry(name: str, target: SshTarget) -> str:
    lines = [
        f"Host {_checked(_NAME, name, 'node name')}",
        f"HostName {_checked(_ADDRESS, target.address, 'address').replace('%', '%%')}",
        f"Port {target.port}",
        f"User {_checked(_USER, target.user, 'user')}",
    ]
    if target.identity_file is not None:
        lines += [f"IdentityFile {_path(target.identity_file)}", "IdentitiesOnly yes"]
    if target.known_hosts is not None:
        lines += [f"UserKnownHostsFile {_path(target.known_hosts)}", "GlobalKnownHostsFile none"]
    if target.ephemeral_host_key:
        # cloud-init makes new host keys at each boot; what is first in the file counts for ssh.
        lines += ["StrictHostKeyChecking no", "UserKnownHostsFile /dev/null"]
        lines.append("GlobalKnownHostsFile none")
    if target.on_this_host:
        lines.append(_QUICK_KEY_EXCHANGE)
    if target.proxy_command is not None:
        command = shlex.join(target.proxy_command).replace("%", "%%")
        lines.append(f"ProxyCommand {_line(command)}")
        if target.proxy_fdpass:
            lines.append("ProxyUseFdpass yes")
    elif target.jump:
        if target.jump != NO_JUMP:
            _jump_host(target.jump)
        lines.append(f"ProxyJump {target.jump}")
    lines += [f"{keyword} {_line(value)}" for keyword, value in target.options]
    return "\n  ".join(lines) + "\n"


def _jump_entry(host: str, target: SshTarget) -> str:
    """A jump host is often a node itself: what opens and proves the node may do so for it, too."""
    lines = [f"Host {host}"]
    if target.identity_file is not None:
        lines.append(f"IdentityFile {_path(target.identity_file)}")
    if target.known_hosts is not None:
        lines.append(f"UserKnownHostsFile {_path(target.known_hosts)} ~/.ssh/known_hosts")
    return "\n  ".join(lines) + "\n"


def _others(nodes: Iterable[str], files: Iterable[Path]) -> str:
    """For hosts that are no nodes, which are those on the way, the user's configuration counts."""
    lines = [f"Host * {' '.join(f'!{name}' for name in sorted(nodes))}"]
    lines += [f"Include {_path(path)}" for path in files]
    return "\n  ".join(lines) + "\n"


def _shared(control_dir: Path, slowdown: int) -> str:
    lines = [
        "Host *",
        "StrictHostKeyChecking yes",
        "UpdateHostKeys no",
        "BatchMode yes",
        *_sharing(control_dir),
        "ServerAliveInterval 5",
        f"ServerAliveCountMax {4 * slowdown}",
        f"ConnectTimeout {10 * slowdown}",
        "Ciphers ^aes128-gcm@openssh.com",
        "LogLevel ERROR",
    ]
    return "\n  ".join(lines) + "\n"


def _sharing(control_dir: Path) -> tuple[str, ...]:
    if len(os.fsencode(control_dir)) > LONGEST_CONTROL_DIR:
        return ()  # slower, where ssh would refuse to work at all
    return ("ControlMaster auto", f"ControlPath {_path(control_dir, '/%C')}", "ControlPersist 60s")


def _wrong(what: str, value: str) -> ConfigError:
    return ConfigError(
        f"{what} {value!r} cannot be used with ssh",
        why="it holds characters that do not belong there",
        hint="ohmykube config validate",
        id="OMK-C-191",
    )


def _checked(form: re.Pattern[str], value: str, what: str) -> str:
    if form.fullmatch(value) is None:
        raise _wrong(what, value)
    return value


def _line(text: str) -> str:
    if not text.isprintable():
        raise _wrong("command", text)
    return text


def _path(path: Path, suffix: str = "") -> str:
    """Quote a path; ssh would expand ``${NAME}`` in it, and has no escape for it."""
    text = str(path)
    if not text.isprintable() or "${" in text or not path.is_absolute():
        raise _wrong("path", text)
    escaped = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}{suffix}"'


def _jump_host(jump: str) -> str:
    found = _JUMP.fullmatch(jump)
    if found is None:
        raise _wrong("jump host", jump)
    return found.group(1).strip("[]")


def probe(ssh_config: Path, node: str, timeout: float) -> None:
    """Run ``true`` on a node over ssh.

    Args:
        ssh_config: a file with what ``render`` gave.
        node: name of its ``Host`` entry.
        timeout: seconds for the whole of it.

    Raises:
        UnreachableError: no answer, or our key is refused.
        IntegrityError: the host key is not the expected one.
        PrerequisiteError: ssh is not installed.
    """
    try:
        process.run(["ssh", "-F", str(ssh_config), node, "--", "true"], timeout=timeout)
    except process.CommandFailed as error:
        raise explain(node, error, ssh_config, node) from error


def explain(
    called: str, error: process.CommandFailed, ssh_config: Path, node: str
) -> OhmykubeError:
    """Return the error that a failed ssh command means.

    Args:
        called: the node as it is called in the message.
        error: what ssh did.
        ssh_config: the client configuration that it used.
        node: the name of the node's ``Host`` entry there.
    """
    found = _explained(called, error)
    if found.id == "OMK-V-102":
        why, hint = ssh_keys.unusable(ssh_config, node)
        if why:
            return UnreachableError(
                f"no ssh key could be shown to node {called}", why=why, hint=hint, id="OMK-V-354"
            )
    return found


def _explained(node: str, error: process.CommandFailed) -> OhmykubeError:
    text = error.result.stderr
    if error.timed_out:
        return _unreachable(node, "it did not answer in time", "OMK-V-105")
    for sign, kind in _SIGNS:
        if sign in text:
            return kind(node, process.tail(text, 8 if kind is _changed_key else 4))
    return _unreachable(node, process.tail(text, 4) or error.message, "OMK-V-101")


def _unreachable(node: str, why: str, id: str) -> UnreachableError:
    return UnreachableError(
        f"node {node} cannot be reached by ssh", why=why, hint="ohmykube status", id=id
    )


def _refused_key(node: str, why: str) -> OhmykubeError:
    return UnreachableError(
        f"node {node} refuses our ssh key",
        why=why,
        hint="put the public key into authorized_keys of that user, or set user and identityFile",
        id="OMK-V-102",
    )


def _changed_key(node: str, why: str) -> OhmykubeError:
    # What ssh says about its file speaks of a copy that lived as long as the attempt.
    lines = [line for line in why.splitlines() if not _OF_THE_FILE.search(line)]
    return IntegrityError(
        f"the ssh host key of node {node} is not the one expected",
        why="the machine was installed anew, or another one answers at its address\n"
        + "\n".join(lines),
        hint="find out which; for a new machine take its key over into hostKey or known_hosts, "
        "and if nobody changed it, do not connect",
        id="OMK-V-103",
    )


def _unknown_key(node: str, why: str) -> OhmykubeError:
    return IntegrityError(
        f"the ssh host key of node {node} is not known",
        why=why,
        hint="set hostKey in cluster.yaml, or connect once with ssh and compare the fingerprint",
        id="OMK-V-104",
    )


def _no_connection(node: str, why: str) -> OhmykubeError:
    return _unreachable(node, why, "OMK-V-106")


_SIGNS = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", _changed_key),
    ("differs from the key for the IP address", _changed_key),
    ("host key is known for", _unknown_key),
    ("Host key verification failed", _changed_key),
    ("Permission denied (", _refused_key),
    ("Too many authentication failures", _refused_key),
    ("Connection refused", _no_connection),
    ("timed out", _no_connection),
    ("No route to host", _no_connection),
    ("Network is unreachable", _no_connection),
    ("Could not resolve hostname", _no_connection),
)
