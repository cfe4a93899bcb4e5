"""A string that does not show itself."""

from __future__ import annotations

from typing import final


@final
class Secret:
    """Holds a token or key; ``str`` and ``repr`` give ``***``, ``reveal`` gives the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value, to be written to a 0600 file or to a child's standard input only."""
        return self._value

    def __str__(self) -> str:
        return "***"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)
