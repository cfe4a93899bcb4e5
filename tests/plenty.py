"""A source of artifacts that has everything, in a few bytes; and a cache that it has filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.addons import selection
from ohmykube.cache import oci, resolve
from ohmykube.cache.sources.base import Source
from ohmykube.cache.store import Store
from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.progress import NullReporter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ohmykube.cache.catalog import Component, FileSpec, ImageSpec, ModuleFile
    from ohmykube.cache.sources.base import SourceContext
    from ohmykube.model.cluster import Cluster


class Plenty(Source):
    """Gives files and images that tell what they are."""

    def __init__(self, context: SourceContext, name: str) -> None:
        super().__init__(context)
        self.name = name

    def available(self) -> None:
        pass

    def _file(self, text: str) -> Path:
        return self.context.store.path(self.context.store.put_bytes(text.encode()))

    def component(self, component: Component, arch: str) -> Mapping[str, Path]:
        return {name: self._file(f"{name} {arch}") for name in component.installs}

    def image(self, image: ImageSpec, arch: str) -> str:
        layer = oci.layer(
            self.context.store,
            {image.entrypoint.strip("/"): oci.Entry(path=self._file(image.name))},
        )
        config = oci.ImageConfig(entrypoint=(image.entrypoint,))
        return oci.assemble(self.context.store, arch, [layer], config)

    def module_file(self, file: ModuleFile) -> Path:
        return self._file(file.name)

    def release_file(self, file: FileSpec, arch: str) -> Path:
        return self._file(f"{file.name} {arch}")


def plenty(name: str, context: SourceContext) -> Source:
    """Make one of any name."""
    return Plenty(context, name)


def fill(cache: Path, salt: str = "", cluster: Cluster | None = None) -> None:
    """Have all artifacts of a cluster in a cache, by default of one that says nothing itself.

    Args:
        cache: its root.
        salt: goes into the bytes of each.
        cluster: whose.
    """

    class Salted(Plenty):
        def _file(self, text: str) -> Path:
            return super()._file(text + salt)

    cluster = cluster or load.from_overrides(Overrides(name="any", provider="fake"))
    release, reporter = selection.release_of(cluster), NullReporter()
    resolve.resolve(
        cluster, release, Store(cache), reporter, load=lambda name, at: Salted(at, name)
    )
