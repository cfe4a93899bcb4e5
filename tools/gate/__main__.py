"""Runs the gate: ``python -m gate all|nightly|STAGE... [--full] [--check] [-- WORDS]``.

WORDS are names of parts, paths, or options of pytest: a path of tests runs these tests, any other
path the parts that read it. With an option, pytest runs in the foreground and nothing is kept. With
``--check`` nothing runs: it ends with 2 when something is asked for that there is not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from . import machine, nightly_parts, parts
from .environment import ROOT, environment
from .inputs import Tree
from .run import Run
from .selection import Selection, UnknownError, select

if TYPE_CHECKING:
    from collections.abc import Sequence

NIGHTLY, CHECK = "nightly", "--check"


def handle_signals() -> None:
    """Hand down no ignored signal, and let what runs tidy up when somebody ends us.

    Under nohup, or in a script's background, some signals are ignored. An ignored one stays ignored
    in every program that is started, and the tests of signals would wait for ever; one with a
    handler is back to its default there.
    """

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)
    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


def in_foreground(selection: Selection) -> int:
    """Run pytest on the terminal, as whoever looks at one test wants it."""
    tests = [test for part in selection.parts for test in part.tests]
    argv = [sys.executable, "-m", "pytest", *dict.fromkeys(tests), *selection.options]
    return subprocess.run(argv, cwd=ROOT, env=environment(), check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; return the exit code."""
    what, words = _split(arguments)
    if not what:
        print(f"usage: {(__doc__ or '').splitlines()[0]}", file=sys.stderr)
        return 2
    handle_signals()
    os.chdir(ROOT)
    machine.token()
    full = "--full" in what or os.environ.get("FULL") == "1" or what[0] == NIGHTLY
    stages = [word for word in what if word not in {"all", NIGHTLY, "--full", CHECK}]
    try:
        tree = Tree.read(ROOT)
        there = [*parts.everything(tree), *(nightly_parts.nightly() if what[0] == NIGHTLY else ())]
        selection = select(there, stages, words, tree)
    except UnknownError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if CHECK in what:
        return 0
    try:
        if selection.options:
            return in_foreground(selection)
        whole = not stages and not words
        return Run(tree, full=full, branches=what[0] == NIGHTLY, whole=whole).execute(
            selection.parts
        )
    except KeyboardInterrupt:
        return 130


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    if "--" in arguments:
        place = list(arguments).index("--")
        return list(arguments[:place]), list(arguments[place + 1 :])
    return list(arguments), []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
