"""Reading the lines of a pipe in a thread."""

from __future__ import annotations

import threading
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class LineReader:
    """Hands each line of ``source`` to ``on_line``, keeps the text, closes ``source`` at its end.

    An ``on_line`` that raises is not called again, but the pipe is read to its end all the same, or
    the writer would block; ``check`` raises what it raised.
    """

    def __init__(self, source: IO[bytes], on_line: Callable[[str], None]) -> None:
        self._lines: list[str] = []
        self._source = source
        self._on_line = on_line
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="line-reader", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._source as source:
            for raw in source:
                line = raw.decode(errors="replace").rstrip("\n")
                self._lines.append(line)
                if self._error is None:
                    self._hand_over(line)

    def _hand_over(self, line: str) -> None:
        try:
            self._on_line(line)
        except BaseException as error:  # noqa: BLE001 - raised again by check(), in the caller's thread
            self._error = error

    def join(self, timeout: float | None = None) -> None:
        """Wait until the pipe has ended, at most ``timeout`` seconds."""
        self._thread.join(timeout)

    def check(self) -> None:
        """Raise what ``on_line`` raised, if it did."""
        if self._error is not None:
            raise self._error

    @property
    def text(self) -> str:
        """Everything that was read so far."""
        return "\n".join(self._lines)
