"""Amounts for people: binary units, and nouns that agree with their number."""

from __future__ import annotations

import pytest

from ohmykube.kit import amounts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1023 << 20, "1023.0 MiB"),
        ((1 << 30) - 1, "1.0 GiB"),
        (2.6 * (1 << 30), "2.6 GiB"),
        (5 << 40, "5.0 TiB"),
        (3 << 50, "3072.0 TiB"),
    ],
)
def test_sizes_have_binary_units(value: float, text: str) -> None:
    assert amounts.size(value) == text


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ("worker",), "0 workers"),
        (1, ("worker",), "1 worker"),
        (2, ("worker",), "2 workers"),
        (1, ("copy", "copies"), "1 copy"),
        (3, ("copy", "copies"), "3 copies"),
    ],
)
def test_a_noun_agrees_with_its_number(number: int, nouns: tuple[str, ...], text: str) -> None:
    assert amounts.count(number, *nouns) == text
