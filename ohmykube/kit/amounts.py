"""Amounts as people read them: sizes in binary units, and counts whose noun agrees."""

from __future__ import annotations

_UNITS = ("KiB", "MiB", "GiB")


def size(value: float) -> str:
    """Return bytes in binary units: ``812 B``, ``14.0 MiB``, ``2.6 GiB``."""
    if value < 1024:
        return f"{value:.0f} B"
    for unit in _UNITS:
        value /= 1024
        if value < 1023.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 node``, ``2 nodes``; ``plural`` where it is irregular."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
