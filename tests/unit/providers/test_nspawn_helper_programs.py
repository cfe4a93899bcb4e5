"""What a signal has ended is started again, and what ends by itself is not."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ohmykube.providers.nspawn import helper_programs

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """#!/bin/sh
echo run >>"{runs}"
[ "$(wc -l <"{runs}")" -gt {times} ] || kill -s {signal} $$
exit {code}
"""


@pytest.mark.parametrize("signal", ["KILL", "TERM", "SEGV", "HUP"])
@pytest.mark.parametrize(("times", "code"), [(0, 0), (0, 3), (3, 0), (2, 127)])
def test_a_program_is_kept_until_it_ends_by_itself(
    tmp_path: Path, signal: str, times: int, code: int
) -> None:
    """Whatever the signal; its own code is that of what keeps it."""
    runs, program, pause = tmp_path / "runs", tmp_path / "program", tmp_path / "sleep"
    program.write_text(PROGRAM.format(runs=runs, times=times, signal=signal, code=code))
    pause.write_text('#!/bin/sh\necho "$1" >>"${0%/*}/pauses"\n')
    for path in (program, pause):
        path.chmod(0o755)
    argv = ["/bin/sh", "-c", helper_programs._KEEP, "ohmykube", str(program)]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(argv, env=env, capture_output=True, timeout=60, check=False)
    assert done.returncode == code
    assert len(runs.read_text().splitlines()) == times + 1
    paused = tmp_path / "pauses"
    assert len(paused.read_text().splitlines() if paused.exists() else []) == times
