"""The command without a process of its own: the same entry point, environment and streams.

Half a second is saved for each command. What it says and returns is the command's own: the tests
of ``test_bad_input`` that compare the two ways hold it to that.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from ohmykube.__main__ import main
from tests.e2e.conftest import UP_SECONDS, Cli


class InProcess(Cli):
    """Runs the function behind ``ohmykube`` in this process."""

    def run(
        self, *arguments: str, check: bool = True, timeout: float = UP_SECONDS, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, as ``Cli.run``; nothing here ends a command that takes too long."""
        del timeout
        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
            for name, value in {**self.env, **extra}.items():
                patch.setenv(name, value)
            out, err = (Path(directory) / name for name in ("out", "err"))
            # Files, not memory: the command asks its streams for a descriptor and an encoding.
            with (
                Path("/dev/null").open() as nothing,
                out.open("w", encoding="utf-8") as stdout,
                err.open("w", encoding="utf-8") as stderr,
                redirect_stdout(stdout),
                redirect_stderr(stderr),
            ):
                patch.setattr("sys.stdin", nothing)
                code = main(arguments)
            argv = self.argv(*arguments)
            done = subprocess.CompletedProcess(argv, code, out.read_text(), err.read_text())
        if check and code != 0:
            pytest.fail(f"{argv} ended with {code}\n{done.stdout}\n{done.stderr}", pytrace=False)
        return done
