"""The table of the gate's parts fits this checkout."""

from __future__ import annotations

from pathlib import Path

from gate import parts
from gate.inputs import Tree

ROOT = Path(__file__).resolve().parents[2]


def test_every_part_reads_its_own_tests() -> None:
    """A pattern that is too wide may take them away."""
    tree = Tree.read(ROOT)
    for part in (*parts.everything(tree), *parts.nightly()):
        tests = tree.matching(word for test in part.tests for word in (test, f"{test}/*test_*.py"))
        assert bool(tests) == bool(part.tests), part.name
        assert tests <= part.files(tree), part.name
