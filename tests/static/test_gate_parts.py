"""The table of the gate's parts fits this checkout, and so do the tests asked about a change."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import mutants  # noqa: E402
from gate import nightly_parts, parts  # noqa: E402 - a program, not an installed package
from gate.inputs import Tree  # noqa: E402


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree.read(ROOT)


def test_every_part_reads_its_own_tests(tree: Tree) -> None:
    """A pattern that is too wide may take them away."""
    for part in (*parts.everything(tree), *nightly_parts.nightly()):
        tests = tree.matching(word for test in part.tests for word in (test, f"{test}/*test_*.py"))
        assert bool(tests) == bool(part.tests), part.name
        assert tests <= tree.matching(part.inputs), part.name


def test_the_nearest_tests_are_asked_first_about_a_change_and_those_with_nodes_never(
    tree: Tree,
) -> None:
    changed = mutants.Mutant("ohmykube/kit/retry.py", 1, "a", "b", "")
    near, room, rest = mutants.stages(changed, tree, parts.unit(tree))
    of_stage = [[word for argv in stage for word in argv] for stage in (near, room)]
    assert "tests/unit/kit/test_kit_waiting.py" in of_stage[0]
    assert all(word.startswith("tests/unit/kit/") for word in of_stage[1] if "/test_" in word)
    assert not set(of_stage[0]) & {word for word in of_stage[1] if "/test_" in word}
    assert rest[0][0].endswith("mypy")
    assert all("not nodes" in argv for stage in (near, room, rest[1:]) for argv in stage)
    asked = [next(word for word in argv if "/test_" in word) for argv in rest[1:]]
    assert any(test.startswith("tests/unit/workflows/") for test in asked), asked
