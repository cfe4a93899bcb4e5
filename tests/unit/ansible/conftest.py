"""A cluster with a hostile or a plain value in every string field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

_EVENTS = Path(__file__).parents[2] / "data" / "events"


@pytest.fixture
def recorded() -> Callable[[str], list[dict[str, Any]]]:
    """Return the raw events of a recorded run of ansible-runner."""

    def load(name: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = json.loads((_EVENTS / f"{name}.json").read_text())
        return events

    return load
