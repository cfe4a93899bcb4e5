"""The fake limactl without a process for each call, for tests with thousands of them."""

from __future__ import annotations

import io
import os
import signal
from typing import TYPE_CHECKING

from ohmykube.kit import process
from ohmykube.testing.fake_limactl.log import Hung, Killed
from ohmykube.testing.fake_limactl.program import main

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class InProcess:
    """Runs the fake within this process, for tests with thousands of calls.

    It stands in for ``kit.process.run``; argv[0] is not looked at.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(environ or {})

    def __call__(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: bool = True,
    ) -> process.Result:
        """Perform one call; one that hangs fails at once as if ``timeout`` had passed."""
        out, err = io.StringIO(), io.StringIO()
        environ = {**(os.environ if env is None else env), **self._environ}
        code, hung = -signal.SIGKILL, False
        try:
            stdin = io.StringIO(input or "")
            code = main(argv[1:], environ, stdin=stdin, out=out, err=err, cwd=cwd)
        except Killed:
            pass
        except Hung:
            hung = True
        result = process.Result(tuple(argv), int(code), out.getvalue(), err.getvalue())
        if hung or (check and code != 0):
            raise process.CommandFailed(result, timed_out=hung)
        return result
