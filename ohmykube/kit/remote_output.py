"""Output of our commands on another machine, apart from what its login shell prints before them.

A shell that runs one command by ssh reads its start-up files first (``.bashrc``, ``.zshenv``), and
those may print a greeting. So every command says first that its output begins.
"""

from __future__ import annotations

BEGIN = "ohmykube: output of the command"


def command(words: str) -> str:
    """Return shell words that print ``BEGIN``, then become the command; for any login shell."""
    return f"echo '{BEGIN}'; exec {words}"


def script(text: str) -> str:
    """Return a POSIX shell script that prints ``BEGIN`` first."""
    return f"echo '{BEGIN}'\n{text}"


def of(text: str) -> str | None:
    """Return what follows ``BEGIN`` in all that came; None when the command was never run."""
    _, begin, output = text.partition(f"{BEGIN}\n")
    return output if begin else None
