"""The table of the gate's parts fits this checkout."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from gate import parts  # noqa: E402 - it is a program, not a package that is installed
from gate.inputs import Tree  # noqa: E402


def test_every_part_reads_its_own_tests() -> None:
    """A pattern that is too wide may take them away."""
    tree = Tree.read(ROOT)
    for part in (*parts.everything(tree), *parts.nightly()):
        tests = tree.matching(word for test in part.tests for word in (test, f"{test}/*test_*.py"))
        assert bool(tests) == bool(part.tests), part.name
        assert tests <= tree.matching(part.inputs), part.name
