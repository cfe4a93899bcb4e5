"""The parts that only the nightly run has."""

from __future__ import annotations

import sys

from . import parts
from .environment import BIN
from .parts import Part


def nightly() -> list[Part]:
    """Return what only the nightly run has: it is slow, and rarely fails."""
    return [
        Part(
            name="nightly/tests",
            argv=(),
            tests=("tests/contract", "tests/e2e"),
            inputs=parts.EVERYTHING,
            variables=(("OHMYKUBE_NIGHTLY", "1"),),
            measured=False,
            nodes=True,
            kept=False,
            sandbox=False,
            budget=6 * 3600,
            limit=6 * 3600,
        ),
        parts.sanity("nightly", parts.CORES[0], "test"),
        *(parts.sanity("nightly", core, "") for core in parts.BETWEEN),
        *(
            Part(
                name=f"nightly/estate-{suite}",
                argv=(str(BIN / "molecule"), "test", "--scenario-name=estate"),
                inputs=parts.EVERYTHING,
                variables=(("ESTATE_SUITE", suite),),
                nodes=True,
                kept=False,
                sandbox=False,
                budget=900,
            )
            for suite in ("bookworm", "trixie")
        ),
        Part(
            name="nightly/mutants",
            argv=(sys.executable, "tools/mutants.py"),
            inputs=parts.EVERYTHING,
            kept=False,
            sandbox=False,
            budget=3 * 3600,
            limit=3 * 3600,
            weight=2.0,
        ),
    ]
