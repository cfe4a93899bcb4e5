"""Our commands on another machine, apart from what its logins print and set.

A shell that runs one command by ssh reads its start-up files first (``.bashrc``, ``.zshenv``), and
those may print a greeting. So every command says first that its output begins. They, and PAM with
``/etc/environment``, also set variables that are meant for people, such as proxies.
"""

from __future__ import annotations

ENVIRONMENT = (
    "HOME=/root",
    "LC_ALL=C.UTF-8",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)
"""The whole environment of a command that is run as root, as arguments of ``env -i``."""
BEGIN = "ohmykube: output of the command"


def framed(words: str) -> str:
    """Return shell words that print ``BEGIN``, then become the command; for any login shell."""
    return f"echo '{BEGIN}'; exec {words}"


def script(text: str) -> str:
    """Return a POSIX shell script that prints ``BEGIN`` first."""
    return f"echo '{BEGIN}'\n{text}"


def output_of(text: str) -> str | None:
    """Return what follows ``BEGIN`` in all that came; None when the command was never run."""
    _, begin, output = text.partition(f"{BEGIN}\n")
    return output if begin else None
