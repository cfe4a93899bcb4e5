"""Kept results: what was damaged, lost or exchanged counts as none, and only so many stay."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from gate.results import MOST, Result, ResultCache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONE = Result("unit/alpha", "k1", "3 passed in 1.00s", 2.5, 1.5)
OTHER = Result("unit/beta", "k1", "4 passed in 1.00s", 2.5, 1.5)


@pytest.fixture
def results(tmp_path: Path) -> ResultCache:
    """Return a cache with two results."""
    data = tmp_path / "data"
    data.write_bytes(b"lines")
    made = ResultCache(tmp_path)
    made.keep(ONE, data)
    made.keep(OTHER, data)
    return made


def test_what_was_kept_is_found(results: ResultCache) -> None:
    found = results.find("unit/alpha", "k1")
    assert found is not None
    assert (found.summary, found.seconds, found.cpu_seconds) == ("3 passed in 1.00s", 2.5, 1.5)
    assert results.coverage("unit/alpha", "k1").read_bytes() == b"lines"
    assert results.find("unit/alpha", "k2") is None
    assert results.find("unit/gamma", "k1") is None
    assert results.notes == []


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:40])


def emptied(path: Path) -> None:
    path.write_text("")


def of_another_form(path: Path) -> None:
    path.write_text("[1, 2]")


def another_value(path: Path) -> None:
    path.write_text(path.read_text().replace("3 passed", "9 passed"))


def another_coverage(path: Path) -> None:
    path.with_suffix(".coverage").write_bytes(b"other lines")


def no_coverage(path: Path) -> None:
    path.with_suffix(".coverage").unlink()


def of_another_part(path: Path) -> None:
    shutil.copy(path.parents[1] / "unit-beta" / path.name, path)


DAMAGES = [
    *(cut, emptied, of_another_form, another_value, another_coverage, no_coverage, of_another_part)
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_counts_as_none(
    results: ResultCache, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "results" / "unit-alpha" / "k1.json"
    damage(path)
    assert results.find("unit/alpha", "k1") is None
    assert results.notes == ["the kept result of unit/alpha is damaged: removed, and run again"]
    assert not path.exists()
    assert results.find("unit/alpha", "k1") is None
    assert results.find("unit/beta", "k1") is not None
    assert len(results.notes) == 1


def test_the_ones_not_used_for_longest_go(results: ResultCache, tmp_path: Path) -> None:
    place = tmp_path / "results" / "unit-alpha"
    for number in range(MOST + 5):
        results.keep(Result("unit/alpha", f"n{number}", "", 1, 1), None)
        os.utime(place / f"n{number}.json", (number, number))
        os.utime(place / "k1.json", (number, number + 0.5))
    assert len(list(place.glob("*.json"))) <= MOST + 1
    assert results.find("unit/alpha", f"n{MOST + 4}") is not None
    assert results.find("unit/alpha", "n0") is None
    assert results.find("unit/alpha", "k1") is not None


def test_a_clock_that_was_set_back_loses_nothing(results: ResultCache, tmp_path: Path) -> None:
    """Times only say which of many results goes first: what is kept later is found as well."""
    for path in tmp_path.rglob("*"):
        os.utime(path, (4e9, 4e9))
    results.keep(Result("unit/alpha", "k2", "", 1, 1), None)
    for part, key in (("unit/alpha", "k1"), ("unit/alpha", "k2"), ("unit/beta", "k1")):
        assert results.find(part, key) is not None
    assert results.notes == []
