"""The gate starts what it runs as a terminal would, side by side where it may, and stops it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit import process

if TYPE_CHECKING:
    from collections.abc import Callable

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM")

# The gate with one stage of ours, after what nohup and a shell's `&` do to signals.
GATE = f"""
import os, pathlib, signal, sys
sys.path.insert(0, {str(TOOLS)!r})
import gate
gate.ROOT = pathlib.Path(sys.argv[1])  # what it measures is not ours
for name in sys.argv[3:]:
    signal.signal(signal.Signals[name], signal.SIG_IGN)
about = gate.Stage(60, sys.argv[1], by_nodes=bool(sys.argv[2]))
gate.STAGES = {{"static": about, "e2e": about, "contract": about}}
gate.ALL = ("static", "nodes")
gate.MOLECULE = ["sh", "-c", "echo all scenarios"]
os.environ["PYTEST_ADDOPTS"] = "-s -p no:cacheprovider"
code = gate.main([os.environ.get("STAGE", "static")])
for name in sys.argv[3:]:
    os.kill(os.getpid(), signal.Signals[name])
print("still here")
sys.exit(code)
"""
DISPOSITIONS = f"""
import signal

def test_dispositions():
    for name in {SIGNALS!r}:
        print(name, signal.getsignal(signal.Signals[name]) is signal.SIG_IGN)
"""
# Two tests, each of which waits until the other has begun.
MEETING = """
import os, pathlib, time, pytest

HERE = pathlib.Path(__file__).parent

def meet(mine, other):
    (HERE / mine).touch()
    end = time.monotonic() + 60
    while not (HERE / other).exists():
        assert time.monotonic() < end, "alone"
        time.sleep(0.01)
    while (HERE / "stay").exists():
        time.sleep(0.01)
    assert not (HERE / f"{mine}-fails").exists()

@pytest.fixture
def tidy(request):
    yield
    (HERE / f"{request.node.name}-tidied").touch()

@pytest.mark.nodes
def test_nodes(tidy):
    meet("nodes", "others")

def test_others(tidy):
    meet("others", "nodes")
"""

# One test that passes alone, one with nodes that fails.
APART = """
import pytest

@pytest.mark.nodes
def test_nodes():
    assert False

def test_others():
    pass
"""


def gate(directory: Path, *ignored: str, by_nodes: bool = False) -> list[str]:
    """Return the command line of a gate with one stage, the tests of ``directory``."""
    return [sys.executable, "-c", GATE, str(directory), "yes" if by_nodes else "", *ignored]


@pytest.mark.parametrize("ignored", [(), SIGNALS], ids=["terminal", "nohup"])
def test_no_stage_inherits_ignored_signals(tmp_path: Path, ignored: tuple[str, ...]) -> None:
    (tmp_path / "test_stage.py").write_text(DISPOSITIONS)
    done = process.run(gate(tmp_path, *ignored), timeout=120, check=False)
    assert done.code == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if "True" in line] == []
    for name in SIGNALS:
        assert f"{name} False" in done.stdout
    assert "still here" in done.stdout, "the gate itself goes on, as nohup promises"


@pytest.mark.parametrize("fails", ["nodes", "others"])
def test_tests_without_nodes_run_beside_the_others(tmp_path: Path, fails: str) -> None:
    (tmp_path / "test_stage.py").write_text(MEETING)
    (tmp_path / f"{fails}-fails").touch()
    done = process.run(gate(tmp_path, by_nodes=True), timeout=120, check=False)
    assert done.code == 1, done.stdout + done.stderr
    ends = {line.split(",")[0] for line in done.stdout.splitlines() if "1 deselected, " in line}
    assert ends == {"1 failed", "1 passed"}
    for name, part in (("nodes", "with nodes"), ("others", "without")):
        word = "FAILED" if name == fails else "ok"
        assert f"--> {tmp_path} {part}: {word} after " in done.stdout


def test_all_runs_the_tests_without_nodes_first(tmp_path: Path) -> None:
    """And then everything that has nodes, to its end, though one of them fails."""
    (tmp_path / "test_stage.py").write_text(APART)
    env = {**os.environ, "STAGE": "all"}
    done = process.run(gate(tmp_path, by_nodes=True), timeout=120, check=False, env=env)
    assert done.code == 1, done.stdout + done.stderr
    begun = [line for line in done.stdout.splitlines() if line.startswith("==> ")]
    assert begun == ["==> static", "==> nodes"]
    ended = re.findall("^(--> .*) after ", done.stdout, re.MULTILINE)
    nodes = f"--> {tmp_path} with nodes: FAILED"
    assert sorted(ended) == sorted([nodes, "--> molecule: ok", nodes])
    assert "all scenarios" in done.stdout
    assert "error: the gate failed at nodes" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_lets_both_runs_tidy_up(
    tmp_path: Path, eventually: Callable[[Callable[[], bool]], bool], number: signal.Signals
) -> None:
    (tmp_path / "test_stage.py").write_text(MEETING)
    (tmp_path / "stay").touch()
    with subprocess.Popen(
        gate(tmp_path, by_nodes=True), stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert eventually(lambda: all((tmp_path / name).exists() for name in ("nodes", "others")))
        os.kill(child.pid, number)
        child.communicate(timeout=120)
    assert child.returncode == 130
    assert (tmp_path / "test_nodes-tidied").exists()
    assert (tmp_path / "test_others-tidied").exists()
