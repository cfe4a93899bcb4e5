"""The context of a run over the fake provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.kit import paths
from ohmykube.providers import registry
from ohmykube.providers.base import ProviderContext
from ohmykube.steps.context import Context, Services
from ohmykube.testing.reporter import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    services = Services(paths=paths.from_environment(), reporter=RecordingReporter())
    cluster = load.from_overrides(Overrides(name="dev", provider="fake"))
    context = ProviderContext(paths=services.paths, reporter=services.reporter, cluster=cluster)
    return Context(
        services=services,
        cluster=cluster,
        provider=registry.load("fake", context),
        directory=tmp_path,
        run_directory=tmp_path,
    )
