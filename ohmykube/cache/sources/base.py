"""The contract of a source of artifacts; entry-point group ``ohmykube.sources``."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.cache import catalog
from ohmykube.errors import NetworkError, PrerequisiteError
from ohmykube.kit import entrypoints

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ohmykube.cache.catalog import Component, FileSpec, ImageSpec, ModuleFile
    from ohmykube.cache.store import Store
    from ohmykube.kit.paths import Paths
    from ohmykube.model.cluster import Sources
    from ohmykube.model.proxy import ProxyUrls
    from ohmykube.model.registry import Registry
    from ohmykube.progress import Reporter

GROUP = "ohmykube.sources"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContext:
    """What a source is made with."""

    store: Store
    sources: Sources
    reporter: Reporter
    paths: Paths
    trust: tuple[str, ...] = ()
    """Certificates, in PEM, of authorities that are trusted beside the system's."""
    proxy: ProxyUrls | None = None
    """What counts instead of the variables of this process."""
    registries: tuple[Registry, ...] = ()
    """How registries are asked that are described, with the logins that were found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Something that this host must have for a source; found read-only."""

    id: str
    """kebab-case, stable."""
    title: str
    met: bool
    evidence: str = ""
    packages: tuple[str, ...] = ()
    """Debian packages that bring it."""


class Source(abc.ABC):
    """Brings artifacts into the store.

    The constructor MUST NOT touch disk or network. All methods MUST be safe to call from several
    threads, and to repeat after a crash at any point: what was finished is found again.
    """

    name: str

    def __init__(self, context: SourceContext) -> None:
        self.context = context

    @abc.abstractmethod
    def available(self) -> None:
        """Return when this source can be asked; MUST take at most 5 s.

        Raises:
            NetworkError: it cannot be reached.
            PrerequisiteError: something is missing on this host.
        """

    @abc.abstractmethod
    def component(self, component: Component, arch: str) -> Mapping[str, Path]:
        """Return a verified file for each binary in ``component.installs``.

        The files MUST stay as they are (blobs of the store); their mode means nothing.

        Raises:
            NetworkError: this source does not have it, or cannot be reached any more.
            PrerequisiteError: something is missing on this host.
            IntegrityError: what came is not what the catalog says.
        """

    @abc.abstractmethod
    def image(self, image: ImageSpec, arch: str) -> str:
        """Put all blobs of an image into the store; return the digest of its manifest.

        The manifest is for exactly ``arch`` (never an index). Raises as ``component``.
        """

    def module_file(self, file: ModuleFile) -> Path:
        """Return the verified blob of a file or chart that a Go module holds.

        By default a source has none. Raises as ``component``.
        """
        raise NetworkError(
            f"source {self.name} does not have {file.name}",
            why="it does not look into Go modules",
            hint="add `build` to spec.artifacts.sources in the cluster file",
            id="OMK-I-245",
        )

    def release_file(self, file: FileSpec, arch: str) -> Path:
        """Return the verified blob of a file; raises as ``component``.

        By default a source has none.
        """
        raise NetworkError(
            f"source {self.name} has no files such as {file.name}",
            hint="add `upstream` or a mirror to spec.artifacts.sources in the cluster file",
            id="OMK-I-315",
        )

    def architectures(self) -> Sequence[str]:
        """Return the architectures for which it has anything; asked after ``available``."""
        return catalog.ARCHITECTURES

    def reference(self, image: ImageSpec) -> str:
        """Return the full reference under which this source's image is known to nodes."""
        return image.ref

    def index_of(self, digest: str) -> str:
        """Return the digest of the index that led ``image`` to a manifest, empty when none did.

        The index is in the store too: by its digest the image can be named as its registry does.
        """
        return ""

    def estimate(self, specs: Iterable[Component | ImageSpec], arch: str) -> float:
        """Return roughly how many seconds these take, 0 when it is not worth a word."""
        return 0.0

    def requirements(self) -> Sequence[Requirement]:
        """Look at what this host has of what the source needs; read-only, at most 2 s."""
        return ()


def names() -> tuple[str, ...]:
    """Return the names of all installed sources."""
    return entrypoints.names(GROUP)


def load(name: str, context: SourceContext) -> Source:
    """Make the source called ``name``.

    Raises:
        NotFoundError: no such source.
        PrerequisiteError: it cannot be loaded.
    """
    loaded = entrypoints.load(GROUP, name, "source")
    if not (isinstance(loaded, type) and issubclass(loaded, Source)):
        raise PrerequisiteError(f'plugin "{name}" is not a Source', why=f"it is {loaded!r}")
    return loaded(context)
