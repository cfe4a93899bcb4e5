"""Every add-on passes one suite: ours, and one of somebody else's package."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from ohmykube.testing.addon_conformance import AddonConformance
from tests import foreign_addon

if TYPE_CHECKING:
    from pathlib import Path


class TestFlannel(AddonConformance):
    """The pod network."""

    name = "flannel"


class TestForeign(AddonConformance):
    """An add-on that an installed package brings."""

    name = foreign_addon.NAME
    values: ClassVar[dict[str, str]] = {"text": "good morning"}

    @pytest.fixture(autouse=True)
    def _installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        foreign_addon.install(tmp_path / "site", monkeypatch)


class TestMetricsServer(AddonConformance):
    """What nodes and pods use."""

    name = "metrics-server"
    values: ClassVar[dict[str, object]] = {"resolution": 30, "verifyKubelets": True}


class TestLocalPath(AddonConformance):
    """Storage of nodes."""

    name = "local-path"
    values: ClassVar[dict[str, object]] = {"path": "/srv/volumes", "defaultClass": False}
