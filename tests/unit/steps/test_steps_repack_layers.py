"""Repacking layers where the cache does not take them: time is lost, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import repack
from ohmykube.cache.store import Store
from ohmykube.errors import LockedError, OhmykubeError, PermissionDenied, ResourceError
from ohmykube.model.artifact import Kind
from ohmykube.progress import Message
from ohmykube.steps.repack_layers import repack_layers
from ohmykube.testing.reporter import RecordingReporter
from tests import image_maker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", [LockedError, PermissionDenied, ResourceError])
def test_a_cache_that_takes_nothing_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[OhmykubeError]
) -> None:
    store, reporter = Store(tmp_path / "cache"), RecordingReporter()
    image = image_maker.image(repack.WORTH + 50_000)
    image.put(store)

    def refuse(*_: object) -> None:
        raise kind("no space left")

    monkeypatch.setattr(repack, "make", refuse)
    assert (
        repack_layers(reporter, store, [image_maker.locked(Kind.IMAGE, "app", image.digest)])
        is False
    )
    (warning,) = reporter.of(Message)
    assert (warning.level, warning.text) == (
        "warning", "layers are sent as they are: no space left",
    )  # fmt: skip


def test_small_layers_are_left_as_they_are(tmp_path: Path) -> None:
    store, reporter = Store(tmp_path / "cache"), RecordingReporter()
    image = image_maker.image(1000)
    image.put(store)
    assert (
        repack_layers(reporter, store, [image_maker.locked(Kind.IMAGE, "app", image.digest)])
        is False
    )
    assert not reporter.events
