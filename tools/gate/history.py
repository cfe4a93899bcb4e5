"""What parts took in the last runs: to say how long a run will take, and what has grown."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .results import write

if TYPE_CHECKING:
    from pathlib import Path

RUNS = 5
"""How many runs of each part are remembered."""


@dataclass
class History:
    """Seconds and processor seconds of the last runs, by part."""

    path: Path
    runs: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @classmethod
    def read(cls, place: Path) -> History:
        """Read the history below a directory; what cannot be read counts as none."""
        history = cls(place / "history.json")
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            for name, runs in json.loads(history.path.read_bytes()).items():
                history.runs[name] = [(float(wall), float(cpu)) for wall, cpu in runs]
        return history

    def last(self, part: str) -> tuple[float, float] | None:
        """Return seconds and processor seconds of a part's last run."""
        runs = self.runs.get(part)
        return runs[-1] if runs else None

    def add(self, part: str, seconds: float, cpu_seconds: float) -> None:
        """Remember a run that passed."""
        mine = [*self.runs.get(part, []), (round(seconds, 1), round(cpu_seconds, 1))]
        self.runs[part] = mine[-RUNS:]

    def save(self) -> None:
        """Write it down; a full disk only costs the history."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write(self.path, json.dumps(self.runs).encode())
