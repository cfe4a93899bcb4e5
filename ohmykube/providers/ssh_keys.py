"""Private keys of this host, judged when a node has refused them: it may be that none was shown."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

from ohmykube.errors import PrerequisiteError, UsageError
from ohmykube.kit import paths, process

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 5
# What ssh-keygen says of a key that it cannot use without a passphrase, and what that means.
_SIGNS = (
    ("incorrect passphrase", "is locked with a passphrase, and no ssh agent has it", "ssh-add {}"),
    ("too open", "may be read by others, so ssh does not use it", "chmod 600 {}"),
    ("Permission denied", "may not be read", "ls -l {}"),
    ("", "is not a private key that ssh can read", "ssh-keygen -y -f {}"),
)


def unusable(ssh_config: Path, node: str) -> tuple[str, str]:
    """Return why none of the keys for a node could be shown to it, and what to type.

    Both are empty when one of them could be, or when there is no key file at all.

    Args:
        ssh_config: the client configuration with the node's ``Host`` entry.
        node: its name there.
    """
    problems = []
    for path in _identities(ssh_config, node):
        found = _problem(path)
        if found is None:
            return "", ""
        problems.append(found)
    return problems[0] if problems else ("", "")


def _identities(ssh_config: Path, node: str) -> list[Path]:
    """Return the key files that ssh would take, of those that exist."""
    told = _output_of("ssh", "-G", "-F", str(ssh_config), node)
    words = [line.split(" ", 1) for line in told.splitlines() if line.startswith("identityfile ")]
    found = []
    for _, path in words:
        with contextlib.suppress(UsageError):  # of a user who is not there
            found.append(paths.expanded(path.strip('"')))
    return [path for path in found if path.is_file()]


def _problem(path: Path) -> tuple[str, str] | None:
    try:
        read = process.run(
            ["ssh-keygen", "-y", "-P", "", "-f", str(path)], timeout=_SECONDS, check=False
        )
    except (process.CommandFailed, PrerequisiteError):
        return None  # nothing can be said about it
    if read.code == 0 or _in_agent(path):
        return None
    why, hint = next((why, hint) for sign, why, hint in _SIGNS if sign in read.stderr)
    return f"{path} {why}", hint.format(shlex.quote(str(path)))


def _in_agent(path: Path) -> bool:
    words = _output_of("ssh-keygen", "-l", "-f", str(path)).split()
    return len(words) > 1 and words[1] in _output_of("ssh-add", "-l").split()


def _output_of(*argv: str) -> str:
    with contextlib.suppress(process.CommandFailed, PrerequisiteError):
        return process.run(argv, timeout=_SECONDS, check=False).stdout
    return ""
