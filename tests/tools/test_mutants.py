"""What the answer about a changed line means."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import mutants
import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("as_root")  # the sandbox needs it
@pytest.mark.parametrize(
    ("program", "limit", "noticed"),
    [
        ("raise SystemExit(0)", 60.0, ""),
        ("raise SystemExit(5)", 60.0, ""),
        ("print('FAILED tests/a.py::b - assert'); raise SystemExit(1)", 60.0, "FAILED tests/a.py"),
        ("import time; time.sleep(60)", 1.0, "time limit"),
    ],
)
def test_a_change_is_noticed_by_failures_and_endless_loops(
    tmp_path: Path, program: str, limit: float, noticed: str
) -> None:
    copy = tmp_path / "checkout"
    (copy / ".venv").mkdir(parents=True)
    found = mutants._fails(copy, [sys.executable, "-c", program], limit)
    assert found.startswith(noticed) if noticed else not found


@pytest.mark.usefixtures("as_root")
def test_what_is_killed_at_the_end_has_noticed_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    (copy / ".venv").mkdir(parents=True)
    mutants._ending.set()
    try:
        with pytest.raises(KeyboardInterrupt):
            mutants._fails(copy, [sys.executable, "-c", "raise SystemExit(1)"], 60.0)
    finally:
        mutants._ending.clear()
