"""The gate starts what it runs as a terminal would, whatever it was itself started by."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ohmykube.kit import process

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM")

# The gate with one stage of ours, after what nohup and a shell's `&` do to signals.
GATE = f"""
import os, signal, sys
sys.path.insert(0, {str(TOOLS)!r})
import gate
for name in sys.argv[2:]:
    signal.signal(signal.Signals[name], signal.SIG_IGN)
gate.STAGES = {{"static": gate.Stage(60, sys.argv[1])}}
code = gate.main(["static", "-p", "no:cacheprovider", "-s"])
for name in sys.argv[2:]:
    os.kill(os.getpid(), signal.Signals[name])
print("still here")
sys.exit(code)
"""
STAGE = f"""
import signal

def test_dispositions():
    for name in {SIGNALS!r}:
        print(name, signal.getsignal(signal.Signals[name]) is signal.SIG_IGN)
"""


@pytest.mark.parametrize("ignored", [(), SIGNALS], ids=["terminal", "nohup"])
def test_no_stage_inherits_ignored_signals(tmp_path: Path, ignored: tuple[str, ...]) -> None:
    (tmp_path / "test_stage.py").write_text(STAGE)
    done = process.run(
        [sys.executable, "-c", GATE, str(tmp_path), *ignored], timeout=120, check=False
    )
    assert done.code == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if "True" in line] == []
    for name in SIGNALS:
        assert f"{name} False" in done.stdout
    assert "still here" in done.stdout, "the gate itself goes on, as nohup promises"
