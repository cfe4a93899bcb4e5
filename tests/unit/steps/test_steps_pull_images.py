"""Images of registries, for each architecture among the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from ohmykube.cache.store import Store
from ohmykube.errors import NetworkError, UsageError
from ohmykube.kit import paths
from ohmykube.progress import StepEnded
from ohmykube.steps.context import Services
from ohmykube.steps.pull_images import full_names, pull_images
from ohmykube.testing.reporter import RecordingReporter
from tests import image_maker

if TYPE_CHECKING:
    from pathlib import Path

    from ohmykube.cache.registry_client import Reference, RegistryClient
    from ohmykube.cache.store import Ref


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


def pulled(store: Store, registry: Registry, *references: str) -> tuple[tuple[Ref, ...], str]:
    """Pull for nodes of two architectures; return the references and what is told."""
    reporter = RecordingReporter()
    services = Services(paths=paths.from_environment(), reporter=reporter)
    client = cast("RegistryClient", registry)
    refs = pull_images(services, full_names(references), ["amd64", "amd64", "arm64"], store, client)
    (ended,) = reporter.of(StepEnded)
    return refs, ended.detail


def test_each_architecture_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    registry = Registry(store)
    refs, detail = pulled(store, registry, "app:1", "docker.io/library/app:1")
    assert detail.startswith("2 images")
    assert sorted(registry.asked) == [
        ("docker.io", "library/app", "amd64"),
        ("docker.io", "library/app", "arm64"),
    ]
    assert set(store.refs()) == set(refs)
    assert all(ref.index == f"index of {ref.digest}" for ref in store.refs())
    assert all(ref.source == "pull" and ref.size > 2000 for ref in refs)


def test_what_cannot_be_had_leaves_no_reference(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(NetworkError):
        pulled(store, Registry(store), "app:1", "app:gone")
    assert store.refs() == ()
    with pytest.raises(UsageError):
        full_names(["NO NAME"])
