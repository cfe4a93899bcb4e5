"""How a run of a playbook is told."""

from __future__ import annotations

import pytest

from ohmykube.kit import amounts
from ohmykube.steps.run_playbook import DONE, TITLES, detail_of


def test_each_playbook_has_a_title_and_a_word_for_its_end() -> None:
    assert DONE.keys() == TITLES.keys()
    assert len(set(DONE.values())) == len(DONE)


@pytest.mark.parametrize("changed", [0, 1, 2, 4, 100])
def test_what_is_counted_is_named(changed: int) -> None:
    told = detail_of(changed)
    assert told == (f"{amounts.count(changed, 'task')} changed" if changed else "nothing changed")
    assert not told.endswith("s changed") or changed > 1
