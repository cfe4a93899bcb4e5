"""Lets another program take the place of this process."""

from __future__ import annotations

import logging
import os
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ohmykube.errors import PrerequisiteError
from ohmykube.kit import shell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores from its start on, and other programs expect to be ended by."""


def become(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Hand terminal, signals and exit code over to a program; handlers of signals are gone there.

    Args:
        argv: the path of the program, then its arguments.
        env: its environment.

    Raises:
        PrerequisiteError: it cannot be run; this process goes on.
    """
    log.debug("become: %s", shlex.join(argv))
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(argv[0], list(argv), dict(env))  # noqa: S606 - without a shell, on purpose
    except OSError as error:
        why = error.strerror or str(error)
        if isinstance(error, FileNotFoundError) and Path(argv[0]).exists():
            why = "the interpreter that its first line names is not installed"
        raise PrerequisiteError(
            f"{argv[0]} cannot be run",
            why=why,
            hint=f"ls -l {shell.word(argv[0])}",
            id="OMK-H-330",
        ) from error
