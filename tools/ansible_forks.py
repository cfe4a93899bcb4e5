# Copyright: the ohmykube authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``ansible-playbook`` several times with one start: Ansible is imported once, each run is a fork.

A run knows nothing of those before it: neither facts nor variables, as in a process of its own.
Ansible reads its settings at import time, so the environment must be complete before ``Forks`` is
made.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING

from ohmykube.ansible import supervise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_HANDLED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_PDEATHSIG = 1
_PATIENCE = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 10.0))
_CRASHED = 250
"""What Ansible itself ends with at an unexpected exception."""


class Forks:
    """Runs playbooks one after the other."""

    def __init__(self) -> None:
        # Not at the top: the caller sets the environment first.
        from ansible.cli import playbook  # noqa: PLC0415

        self._main = playbook.main

    def run(self, argv: Sequence[str], output: Path, cwd: Path, env: Mapping[str, str]) -> int:
        """Run ``ansible-playbook`` with all it says in a file; return its exit code.

        An exception here, such as one that a signal handler raises, ends the run with all its
        processes first.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        # No handler may raise between the fork and the `try`.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        pid = os.fork()
        if pid == 0:
            self._child(argv, output, cwd, env)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return supervise.code_of(os.waitpid(pid, 0)[1])
        except BaseException:
            _end(pid)
            raise

    def _child(self, argv: Sequence[str], output: Path, cwd: Path, env: Mapping[str, str]) -> None:
        code: object = _CRASHED
        try:
            supervise.prctl(_PDEATHSIG, signal.SIGTERM)
            for number in _HANDLED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            os.setsid()
            _redirect(output)
            os.chdir(cwd)
            os.environ.update(env)
            self._main(["ansible-playbook", *argv])
        except SystemExit as end:
            code = end.code or 0
        except BaseException:  # noqa: BLE001 - the child must never get into the parent's code
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            # No exit handlers: Ansible's temporary directory is the parent's.
            os._exit(code if isinstance(code, int) else _CRASHED)


def _redirect(output: Path) -> None:
    into = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (into, 1), (into, 2)):
        os.dup2(source, target)


def _end(pid: int) -> None:
    """End a run and all that it started; its workers are leaders of sessions of their own."""
    for number, patience in _PATIENCE:
        told = [pid, *supervise.descendants(pid)]
        supervise.send(told, number)
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if os.waitpid(pid, os.WNOHANG)[0]:
                supervise.send(told, signal.SIGKILL)
                return
            time.sleep(0.05)
