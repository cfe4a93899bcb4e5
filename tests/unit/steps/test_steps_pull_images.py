"""Images of registries, for each architecture among the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from ohmykube.cache.store import Store
from ohmykube.errors import NetworkError, UsageError
from ohmykube.kit import paths
from ohmykube.steps.base import Services
from ohmykube.steps.pull_images import PullImages
from ohmykube.steps.reach import Reach
from ohmykube.testing.reporter import RecordingReporter
from tests import image_maker

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.cache.registry_client import Reference, RegistryClient
    from ohmykube.steps.base import Run


class Registry:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: list[tuple[str, str, str]] = []

    def pull(self, reference: Reference, arch: str) -> str:
        self.asked.append((reference.registry, reference.name, arch))
        if reference.tag == "gone":
            raise NetworkError("not there")
        return image_maker.image(2000, seed=len(arch), arch=arch).put(self._store)

    def index_of(self, digest: str) -> str:
        return f"index of {digest}"


class OneRun:
    def __init__(self) -> None:
        self.services = Services(paths=paths.from_environment(), reporter=RecordingReporter())


def step(store: Store, registry: Registry, *references: str) -> PullImages:
    reach = Reach(["cp1", "w1", "w2"])
    reach.architectures = {"cp1": "amd64", "w1": "amd64", "w2": "arm64"}
    return PullImages(reach, references, store, cast("RegistryClient", registry))


def test_each_architecture_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    registry = Registry(store)
    pulled = step(store, registry, "app:1", "docker.io/library/app:1")
    assert pulled.run(cast("Run", OneRun())).startswith("2 images")
    assert sorted(registry.asked) == [
        ("docker.io", "library/app", "amd64"),
        ("docker.io", "library/app", "arm64"),
    ]
    assert {(ref.name, ref.arch) for ref in store.refs()} == pulled.refs.keys()
    assert all(ref.index == f"index of {ref.digest}" for ref in store.refs())
    assert all(ref.source == "pull" and ref.size > 2000 for ref in pulled.refs.values())


def test_what_cannot_be_had_leaves_no_reference(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pulled = step(store, Registry(store), "app:1", "app:gone")
    with pytest.raises(NetworkError):
        pulled.run(cast("Run", OneRun()))
    assert store.refs() == ()
    with pytest.raises(UsageError):
        step(store, Registry(store), "NO NAME")
