"""Roles seen from the nodes; run by Molecule, which passes --hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Without nodes there is nothing to look at."""
    return None if config.getoption("--hosts") else True
