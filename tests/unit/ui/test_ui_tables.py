"""Aligned columns."""

from __future__ import annotations

from ohmykube.ui.tables import table


def test_columns_align_and_lines_have_no_trailing_space() -> None:
    text = table(("name", "count"), [("a", 0), ("long name", None), ("x\x1b[2J\ny", "")])
    assert text == "NAME        COUNT\na           0\nlong name   -\nx y         -\n"


def test_no_rows() -> None:
    assert table(("a", "b"), []) == "A   B\n"
