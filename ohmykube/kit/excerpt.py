"""Texts that are too long, cut in the middle: the end is where programs say what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def both_ends(text: str, longest: int, mark: str = "...") -> str:
    """Return at most ``longest`` characters: a beginning, the mark, and more of the end."""
    if len(text) <= longest:
        return text
    begin = longest // 4
    return text[:begin] + mark + text[begin + len(mark) - longest :]


def first_and_last(lines: Sequence[str], most: int) -> list[str]:
    """Return at most ``most`` lines: the first, which is the message, and the last ones."""
    return [*lines] if len(lines) <= most else [lines[0], *lines[-(most - 1) :]]
