"""What is asked about a changed line, and what its answer means."""

from __future__ import annotations

import sys
from pathlib import Path

import mutants
import pytest
from gate import parts
from gate.inputs import Tree

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree.read(ROOT)


def mutant(path: str) -> mutants.Mutant:
    return mutants.Mutant(path, 1, "a", "b", "")


def test_the_nearest_tests_are_asked_first_and_those_with_nodes_never(tree: Tree) -> None:
    near, room, rest = mutants.stages(mutant("ohmykube/kit/retry.py"), tree, parts.unit(tree))
    of_stage = [[word for argv in stage for word in argv] for stage in (near, room, rest)]
    assert "tests/unit/kit/test_kit_waiting.py" in of_stage[0]
    assert all(word.startswith("tests/unit/kit/") for word in of_stage[1] if "/test_" in word)
    assert not set(of_stage[0]) & {word for word in of_stage[1] if "/test_" in word}
    assert rest[0][0].endswith("mypy")
    assert all("not nodes" in argv for stage in (near, room, rest[1:]) for argv in stage)
    asked = [next(word for word in argv if "/test_" in word) for argv in rest[1:]]
    assert any(test.startswith("tests/unit/workflows/") for test in asked), asked


@pytest.mark.usefixtures("as_root")  # the sandbox needs it
@pytest.mark.parametrize(
    ("program", "noticed"),
    [
        ("raise SystemExit(0)", ""),
        ("raise SystemExit(5)", ""),
        ("print('FAILED tests/a.py::test_b - assert'); raise SystemExit(1)", "FAILED tests/a.py"),
        ("import time; time.sleep(60)", "time limit"),
    ],
)
def test_a_change_is_noticed_by_failures_and_endless_loops(
    tmp_path: Path, program: str, noticed: str
) -> None:
    copy = tmp_path / "checkout"
    (copy / ".venv").mkdir(parents=True)
    found = mutants._fails(copy, [sys.executable, "-c", program], 3.0)
    assert found.startswith(noticed) if noticed else not found


@pytest.mark.usefixtures("as_root")
def test_what_is_killed_at_the_end_has_noticed_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    (copy / ".venv").mkdir(parents=True)
    mutants._ending.set()
    try:
        with pytest.raises(KeyboardInterrupt):
            mutants._fails(copy, [sys.executable, "-c", "raise SystemExit(1)"], 10.0)
    finally:
        mutants._ending.clear()
