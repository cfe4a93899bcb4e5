"""The figures of one run of the bench: every round, and the median."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, field


@dataclass
class Figures:
    """All rounds of all figures."""

    rounds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Keep one round."""
        self.rounds.setdefault(name, []).append(round(value, 3))
        print(f"    {name}: {value:.3f}", file=sys.stderr, flush=True)

    def median(self, name: str) -> float:
        """Return the median of a figure's rounds."""
        return statistics.median(self.rounds[name])
