"""The source ``build``: node components from Go modules, images assembled from them.

For machines that reach a Go module proxy and a Debian mirror and nothing else. Slow once (the
whole of Kubernetes is compiled), then everything is in the cache.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.cache import oci, releases
from ohmykube.cache.sources import debian_layer, module_files, toolchain
from ohmykube.cache.sources.base import Requirement, Source, SourceContext
from ohmykube.cache.sources.build_errors import build_failure
from ohmykube.cache.sources.gobuild import Builder
from ohmykube.errors import NetworkError, PrerequisiteError
from ohmykube.kit import process
from ohmykube.progress import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ohmykube.cache.catalog import Component, ImageSpec, ModuleFile, Recipe

PROBE_SECONDS = 5.0
_PROBED = "cni-plugins"
_TITLE = "org.opencontainers.image.title"
_VERSION = "org.opencontainers.image.version"


class BuildSource(Source):
    """Builds for the architecture of this machine."""

    name = "build"

    def __init__(self, context: SourceContext) -> None:
        super().__init__(context)
        self._builder = Builder(context.store, context.reporter)
        self._warned = threading.Event()

    def available(self) -> None:
        """Ask the module proxy for one small module, unless it is in the module cache.

        Raises:
            NetworkError: the proxy does not answer.
            PrerequisiteError: something that any of the builds needs is not there. It is better
                said now than by the last of them, a quarter of an hour later.
        """
        go, probe = toolchain.go(), _probe()
        if missing := [need for need in self.requirements() if not need.met]:
            packages = sorted({name for need in missing for name in need.packages})
            raise PrerequisiteError(
                "tools to build node components are missing on this host",
                why=f"missing: {', '.join(need.title for need in missing)}; "
                f"Debian packages: {' '.join(packages)}",
                hint="ohmykube doctor --fix",
                id="OMK-I-202",
            )
        try:
            process.run(
                [go.program, "list", "-m", "-json", probe],
                timeout=PROBE_SECONDS,
                env=go.env,
                cwd=Path("/"),
            )
        except process.CommandFailed as error:
            raise build_failure(
                probe, error.result.stderr or error.result.stdout, timed_out=error.timed_out
            ) from error
        if go.sum_database == "off" and not self._warned.is_set():
            self._warned.set()
            self.context.reporter.emit(
                Message(
                    level="warning",
                    text="GOSUMDB is off: only the modules named in the catalog are checked, "
                    "what they depend on is taken as the proxy gives it",
                )
            )

    def component(self, component: Component, arch: str) -> Mapping[str, Path]:
        """Build a component; raises as ``Builder.binaries``, NetworkError without a recipe."""
        built = self._builder.binaries(self._recipe(component), arch)
        return {name: built[name] for name in component.installs}

    def image(self, image: ImageSpec, arch: str) -> str:
        """Build the programs of an image and assemble the image around them; raises as above."""
        store = self.context.store
        entries = self._entries(image, arch)
        layers = []
        if image.base is not None:
            layers.append(debian_layer.make(image.base, arch, store, self.context.reporter))
        layers.append(oci.layer(store, entries))
        version = self.reference(image).rpartition(":")[2]
        config = oci.ImageConfig(
            entrypoint=(image.entrypoint, *image.arguments),
            env={"PATH": oci.SEARCH_PATH, **image.environment},
            labels={_TITLE: image.name, _VERSION: version},
        )
        return oci.assemble(store, arch, layers, config)

    def _entries(self, image: ImageSpec, arch: str) -> dict[str, oci.Entry]:
        """Return what lies above the base of an image."""
        self._recipe(image)
        built: dict[str, Path] = {}
        for recipe in image.recipes:
            built |= self._builder.binaries(recipe, arch)
        places = {image.entrypoint: image.binary}
        places |= {place: name for name, place in image.programs.items()}
        entries = {place: oci.Entry(path=built[name]) for place, name in places.items()}
        entries |= {place: oci.Entry(link=target) for place, target in image.links.items()}
        if image.files is not None:
            entries |= module_files.tree(image.files, self.context.reporter)
        return {place.strip("/"): entry for place, entry in entries.items()}

    def module_file(self, file: ModuleFile) -> Path:
        """Take it out of its module; raises as ``module_files.take``."""
        return module_files.take(file, self.context.store, self.context.reporter)

    def architectures(self) -> Sequence[str]:
        """Nothing is compiled for another machine: libraries for that are not there."""
        return (toolchain.go().arch,)

    def reference(self, image: ImageSpec) -> str:
        """Return the reference of our own image: it may be of another version than upstream's."""
        return image.build_ref or image.ref

    def estimate(self, specs: Iterable[Component | ImageSpec], arch: str) -> float:
        """Return the seconds that these take on this machine; 0 when all is built already."""
        recipes: list[Recipe] = []
        for spec in specs:
            recipes += [recipe for recipe in spec.recipes if recipe not in recipes]
        seconds = sum(r.seconds for r in recipes if not self._builder.built(r, arch))
        return seconds * 2 / max(1, os.cpu_count() or 1)

    def requirements(self) -> Sequence[Requirement]:
        """Look for compilers, libraries and mmdebstrap."""
        path = process.which("mmdebstrap")
        return (
            *toolchain.requirements(),
            Requirement(
                id="mmdebstrap",
                title="mmdebstrap for the image layer of Debian tools",
                met=path is not None,
                evidence=path or "not on PATH",
                packages=debian_layer.PACKAGES,
            ),
        )

    def _recipe(self, spec: Component | ImageSpec) -> Recipe:
        if spec.recipe is None:
            raise NetworkError(
                f"{spec.name} {spec.version} cannot be built from Go modules",
                why="no module proxy serves that version completely",
                hint="ohmykube config show  (which Kubernetes version does it ask for?)",
                id="OMK-I-208",
            )
        return spec.recipe


def _probe() -> str:
    """Return a small module that every release needs: what the proxy is asked for."""
    known = releases.release(releases.default_version()).components
    (recipe,) = [one.recipe for one in known if one.name == _PROBED and one.recipe]
    return recipe.name
