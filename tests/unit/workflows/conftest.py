"""Hosts for workflows: what they have in their cache, and nodes that say what they are like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import node_answers, plenty

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all hosts that has all artifacts."""
    path = tmp_path_factory.mktemp("cache")
    plenty.fill(path)
    return path


@pytest.fixture
def world(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every host that cache, and an ssh to nodes that say what they are like."""
    monkeypatch.setenv("OHMYKUBE_CACHE_DIR", str(cache))
    node_answers.install(tmp_path / "bin", monkeypatch)
