"""Ansible reads inventories in processes of its own: nothing in them is to be measured."""

from __future__ import annotations

import os

import pytest

from tests import unmeasured


@pytest.fixture(autouse=True)
def _unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - unmeasured.environment().keys():
        monkeypatch.delenv(name)
