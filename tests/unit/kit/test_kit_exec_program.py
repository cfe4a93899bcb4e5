"""A program in place of this process; what it then has is seen in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ohmykube.errors import PrerequisiteError
from ohmykube.kit import exec_program

if TYPE_CHECKING:
    from pathlib import Path

ASK = "import os, signal, sys; print(os.getpid(), sys.argv[1:], os.environ.get('MINE'), "
ASK += "signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL)"
HAND_OVER = """
import sys
from ohmykube.kit import exec_program
exec_program.become([sys.executable, "-c", sys.argv[1], "a b", "--"], {"MINE": "1"})
"""


@pytest.fixture(autouse=True)
def _signals_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


def test_it_is_the_same_process_with_what_it_was_given() -> None:
    child = subprocess.Popen([sys.executable, "-c", HAND_OVER, ASK], stdout=subprocess.PIPE)
    out, _ = child.communicate(timeout=60)
    # Python itself ignores SIGPIPE again: that a program does not is a test of whole commands.
    assert out.decode().split(" ", 1) == [str(child.pid), "['a b', '--'] 1 False\n"]
    assert child.returncode == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#!/nonexistent/sh\n", "interpreter that its first line names"),
        ("no program", "Exec format error"),
        (None, "No such file"),
    ],
)
def test_what_cannot_be_run_is_told(tmp_path: Path, text: str | None, why: str) -> None:
    program = tmp_path / "a program"
    if text is not None:
        program.write_text(text)
        program.chmod(0o755)
    with pytest.raises(PrerequisiteError) as caught:
        exec_program.become([str(program)], {})
    assert caught.value.message == f"{program} cannot be run"
    assert why in (caught.value.why or "")
    assert caught.value.hint == f"ls -l '{program}'"
