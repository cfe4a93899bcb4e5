"""Reads lines from a pipe in a thread."""

from __future__ import annotations

import threading
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class LinePump:
    """Hands each line of ``source`` to ``on_line`` and keeps the text."""

    def __init__(self, source: IO[bytes], on_line: Callable[[str], None]) -> None:
        self._lines: list[str] = []
        self._source = source
        self._on_line = on_line
        self._thread = threading.Thread(target=self._pump, name="line-pump", daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        for raw in self._source:
            line = raw.decode(errors="replace").rstrip("\n")
            self._lines.append(line)
            self._on_line(line)

    def join(self) -> None:
        """Wait until the pipe has ended."""
        self._thread.join()

    @property
    def text(self) -> str:
        """Everything that was read."""
        return "\n".join(self._lines)
