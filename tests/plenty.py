"""A source that has everything, in a few bytes; and a cache that it has filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.cache import oci, resolve
from ohmykube.cache.sources.base import Source
from ohmykube.cache.store import Store
from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.progress import NullReporter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ohmykube.cache.catalog import Component, ImageSpec
    from ohmykube.cache.sources.base import SourceContext


class Plenty(Source):
    """Has everything."""

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
        layer = oci.binary_layer(self.context.store, self._file(image.name), image.entrypoint)
        config = oci.ImageConfig(entrypoint=(image.entrypoint,))
        return oci.assemble(self.context.store, arch, [layer], config)


def plenty(name: str, context: SourceContext) -> Source:
    return Plenty(context, name)


def fill(cache: Path, salt: str = "") -> None:
    """Have all artifacts of a cluster as it is made by default in a cache.

    Args:
        cache: its root.
        salt: goes into the bytes of each.
    """

    class Salted(Plenty):
        def _file(self, text: str) -> Path:
            return super()._file(text + salt)

    cluster = load.from_overrides(Overrides(name="any", provider="fake"))
    resolve.resolve(cluster, Store(cache), NullReporter(), load=lambda name, at: Salted(at, name))
