"""Running one script on one host, with nothing kept open afterwards."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ohmykube.errors import NodeError, OhmykubeError, PrerequisiteError
from ohmykube.kit import files, process, remote_command
from ohmykube.providers import ssh_config

if TYPE_CHECKING:
    from ohmykube.model.machine import SshTarget

# Of the login's environment only the address at which we arrived is wanted on the other side.
_CLEAN = f'env -i {" ".join(remote_command.ENVIRONMENT)} "SSH_CONNECTION=$SSH_CONNECTION" sh -s'
_PLAIN = f"exec {_CLEAN}"
_SUDO = f"exec sudo -n -- {_CLEAN}"


_IN_SUDOERS = "allow it there, in /etc/sudoers.d: "
# What sudo says, what that means, and what to do; the first that is in the text counts.
_SUDO_SIGNS = (
    (
        "you must have a tty",
        "wants a terminal",
        _IN_SUDOERS + "Defaults:{user} !requiretty",
    ),
    (
        "not found",
        "is not installed",
        "install it there, or set user: root and become: false",
    ),
    (
        "not in the sudoers file",
        "does not know the user",
        _IN_SUDOERS + "{user} ALL=(ALL) NOPASSWD: ALL",
    ),
    (
        "not allowed to",
        "does not let the user run a shell as root",
        _IN_SUDOERS + "{user} ALL=(ALL) NOPASSWD: ALL",
    ),
    (
        "password",
        "does not work without a password",
        _IN_SUDOERS + "{user} ALL=(ALL) NOPASSWD: ALL",
    ),
    ("", "does not work", "log in there and try: sudo -n true"),
)


class ScriptRunner(Protocol):
    """Runs shell scripts on hosts."""

    def run(
        self, node: str, target: SshTarget, script: str, *, trusted: str, timeout: float
    ) -> str:
        """Return the output of ``script``, run as root if ``target.become``.

        What the login shell prints before is no part of it.

        Args:
            node: name for messages.
            target: how to reach it.
            script: a POSIX shell script; goes over standard input.
            trusted: known_hosts lines that count instead of the user's; empty for the user's.
            timeout: seconds for the whole of it.

        Raises:
            UnreachableError: no connection, or our key is refused.
            IntegrityError: the host key is not the expected one.
            PrerequisiteError: sudo wants a password.
            NodeError: the script failed, or the login shell did not run it.
        """
        ...


class OpenSsh:
    """Runs each script by one ``ssh`` process."""

    def run(
        self, node: str, target: SshTarget, script: str, *, trusted: str, timeout: float
    ) -> str:
        """Run the script (see ``ScriptRunner``)."""
        with tempfile.TemporaryDirectory(prefix="omk-ssh-") as temporary:
            directory = Path(temporary)
            config = directory / "config"
            known = directory / "known_hosts"
            if trusted:
                files.write(known, trusted)
                target = replace(target, known_hosts=known)
            files.write(config, ssh_config.render({node: target}, directory))
            # Options on the command line come first and win over the file's.
            once = ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
            command = _SUDO if target.become else _PLAIN
            framed = remote_command.script(script)
            argv = ["ssh", "-F", str(config), *once, node, "--", command]
            try:
                told = process.run(argv, timeout=timeout, input=framed).stdout
            except process.CommandFailed as error:
                raise _explained(node, target, error, config) from error
            output = remote_command.output_of(told)
            if output is None:
                raise _not_run(node, target, told)
            return output


def _explained(
    node: str, target: SshTarget, error: process.CommandFailed, config: Path
) -> OhmykubeError:
    text = error.result.stderr
    where = f"{target.user}@{target.address}"
    if error.timed_out or error.result.code == 255:
        return ssh_config.explain(f"{node} ({where})", error, config, node)
    if target.become and "sudo" in text:
        problem, advice = next(
            (problem, advice) for sign, problem, advice in _SUDO_SIGNS if sign in text
        )
        return PrerequisiteError(
            f"sudo on node {node} ({where}) {problem}",
            why=process.tail(text, 3),
            hint=advice.format(user=target.user),
            id="OMK-V-120",
        )
    return NodeError(
        f"a command failed on node {node} ({where})",
        why=process.tail(text, 4) or f"code {error.result.code}",
        hint=f"ohmykube shell {node}",
        id="OMK-V-121",
    )


def _not_run(node: str, target: SshTarget, told: str) -> NodeError:
    return NodeError(
        f"the login shell on node {node} ({target.user}@{target.address}) does not run commands",
        why=process.tail(told, 4) or "it printed nothing",
        hint=f"ssh {target.user}@{target.address} true  (its start-up files end it, "
        "or read the standard input?)",
        id="OMK-V-350",
    )
