"""Plain aligned columns, as kubectl prints them: no boxes, no colour, easy to cut and grep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.ui.console import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP = 3


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows under upper-case heads; an empty value shows as ``-``. Ends with a line end."""
    text = [[h.upper() for h in head], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in text) for column in range(len(head))]
    lines = []
    for row in text:
        cells = [cell.ljust(width + _GAP) for cell, width in zip(row, widths, strict=True)]
        lines.append("".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return one_line(str(value)) if value not in (None, "") else "-"
