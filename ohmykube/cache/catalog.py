"""What is available: components and images, where they come from, how they are built."""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING

from ohmykube.kit import architecture
from ohmykube.model.addon import Requirements
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ohmykube.model.cluster import Cluster

ARCHITECTURES = tuple(architecture.KERNEL_NAMES)
EVERYWHERE = ("control-plane", "worker")
"""Roles of nodes, for what all of them need."""
ANY = "noarch"
"""Architecture of what is the same for all of them, such as a chart."""
_COUNTS = "counts for the key"


class Form(enum.StrEnum):
    """How a publisher signs a file."""

    COSIGN_BUNDLE = "cosign-bundle"
    """One ``bundle``: signature, certificate and proof of the transparency log."""
    COSIGN_PAIR = "cosign-pair"
    """``signature`` and ``certificate`` apart; the log is asked for its proof."""
    PGP = "pgp"
    """A detached ``signature`` of OpenPGP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Where a file's signature is, and whose it must be."""

    form: Form
    files: Mapping[str, str]
    """Part, as ``Form`` names them, to URL."""
    identity: str = ""
    """Whom the certificate must name."""
    issuer: str = ""
    """Who must have vouched for that identity: the issuer's URL."""
    keyring: str = ""
    """Name of the keyring with the publisher's OpenPGP keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One file on a release server."""

    url: str
    digest: str = ""
    """``sha256:<hex>``; empty when only the publisher's sums tell."""
    sums: str = ""
    """URL of the file with the publisher's sha256 sums; ``<url>.sha256`` when empty."""
    signed: Signed | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    """Archive member to binary name; empty: the file itself is the only binary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoRecipe:
    """How binaries are built from one Go module."""

    module: str
    version: str
    """Of the module, such as ``v1.36.3``."""
    sum: str
    """``h1:…`` of the module, as in go.sum."""
    packages: Mapping[str, str]
    """Binary name to import path."""
    ldflags: str = ""
    tags: str = ""
    cgo: bool = False
    staging: str = ""
    """Version that replaces requirements at v0.0.0 (k8s.io/kubernetes and its staging modules)."""
    replace: Mapping[str, str] = field(default_factory=dict)
    """Module to the ``path@version`` that is taken for it, whatever the module's go.mod says."""
    go: str = "1.26"
    """Oldest Go release that builds it."""
    libraries: tuple[str, ...] = ()
    """Static C libraries that are linked in besides libc."""
    seconds: int = 60
    """Rough duration on two cores."""
    memory_gib: float = 1.0
    """Rough peak of the build."""
    expect: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Toolchain to binary name to digest."""

    @property
    def name(self) -> str:
        """The name that progress shows while it is built."""
        return f"{self.module}@{self.version}"

    @property
    def binaries(self) -> tuple[str, ...]:
        """Names of what it makes."""
        return tuple(self.packages)


@dataclass(frozen=True, slots=True, kw_only=True)
class CRecipe:
    """How one binary is built from a C file in ``data/``."""

    binary: str
    source: str
    version: str
    seconds: int = 1
    expect: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name that progress shows while it is built."""
        return f"{self.binary} {self.version}"

    @property
    def binaries(self) -> tuple[str, ...]:
        """Names of what it makes."""
        return (self.binary,)


Recipe = GoRecipe | CRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFile:
    """A file or a chart that a Go module holds beside its source."""

    module: str
    version: str
    """Of the module, such as ``v0.15.2``."""
    sum: str
    """``h1:…`` of the module, as in go.sum."""
    path: str
    """In the module, without a slash at its beginning or end: a file, or the directory of a chart,
    which is packed."""
    digest: str
    """``sha256:<hex>`` of the file, or of the chart's archive."""

    @property
    def name(self) -> str:
        """What the user is told is being fetched."""
        return f"{self.path} of {self.module}@{self.version}"

    @property
    def url(self) -> str:
        """Where a mirror keeps it: below the place of the module on Go's public proxy."""
        return f"{self._place}/{self.path}"

    @property
    def zip_url(self) -> str:
        """Where Go's public proxy has the module."""
        return f"{self._place}.zip"

    @property
    def _place(self) -> str:
        # The protocol of module proxies writes a capital letter as an exclamation mark and the
        # small letter.
        module = re.sub("[A-Z]", lambda found: f"!{found[0].lower()}", self.module)
        return f"https://proxy.golang.org/{module}/@v/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianLayer:
    """An image layer of Debian packages with what they need, reduced to programs and libraries."""

    suite: str
    packages: tuple[str, ...]
    name: str = field(default="tools", metadata={_COUNTS: False})
    """Under which it is kept."""
    keep: tuple[str, ...] = ()
    """Paths, without a slash at the beginning, that are wanted besides programs and libraries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTree:
    """Files that an image takes out of a Go module."""

    module: str
    version: str
    sum: str
    """``h1:…`` of the module, as in go.sum."""
    places: Mapping[str, str]
    """Absolute path in the image to path in the module: a file, or a directory with all below."""
    programs: tuple[str, ...] = ()
    """Which of these places can be run; the zip of a module keeps no modes."""
    without: tuple[str, ...] = ()
    """Names of files and directories that are left out, as ``fnmatch`` reads them."""

    @property
    def name(self) -> str:
        """What the user is told is being fetched."""
        return f"{self.module}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """Binaries of one project that are installed on nodes."""

    name: str
    version: str
    role: str
    """The package that has it, which is named after the role that unpacks it."""
    installs: Mapping[str, str]
    """Binary name to absolute path on the node."""
    downloads: Mapping[str, Download]
    """By architecture."""
    recipe: GoRecipe | None = None
    """None when this version cannot be built."""

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """All that is built for it; nothing when it cannot be."""
        return () if self.recipe is None else (self.recipe,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """A container image."""

    name: str
    version: str
    ref: str
    """Full upstream reference, with a tag."""
    node_roles: tuple[str, ...]
    binary: str
    entrypoint: str
    """Absolute path of the binary in an image that we assemble."""
    recipe: Recipe | None = None
    """How the binary is built; None when this version cannot be."""
    more_recipes: tuple[Recipe, ...] = ()
    """For programs that come from other modules, or are built otherwise."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """Further binaries of these recipes to absolute paths."""
    files: ModuleTree | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    """Absolute path to what the symbolic link there holds."""
    arguments: tuple[str, ...] = ()
    """Of the entry point."""
    environment: Mapping[str, str] = field(default_factory=dict)
    base: DebianLayer | None = None
    """Layer below the binaries in an image that we assemble."""
    build_ref: str = ""
    """Reference of an image that we assemble, where it differs in version from upstream's."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Upstream manifest digest by architecture, where known."""

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """All that is built for it; nothing when it cannot be."""
        return () if self.recipe is None else (self.recipe, *self.more_recipes)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSpec:
    """A file that is taken as its publisher made it: a chart, a manifest, a program's data."""

    name: str
    """Within its set, such as ``metallb-native.yaml``."""
    version: str
    downloads: Mapping[str, Download] = field(default_factory=dict)
    """By architecture; one for ``ANY`` where all nodes take the same."""
    module: ModuleFile | None = None
    """Where a Go module holds it, instead of ``downloads``; the same for all nodes."""
    kind: Kind = Kind.FILE
    """``FILE`` or ``CHART``."""
    node_roles: tuple[str, ...] = ()
    """Nodes that fetch it; none for what is read on this host alone, as charts are."""

    @property
    def architectures(self) -> tuple[str, ...]:
        """For which there is one, or ``ANY`` alone."""
        return (ANY,) if self.module is not None else tuple(self.downloads)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSet:
    """Artifacts that are wanted together, such as those of one add-on."""

    name: str
    version: str
    condition: str = ""
    """Which clusters want it: ``cni: NAME``, ``addon: NAME``; empty for all."""
    components: tuple[Component, ...] = ()
    images: tuple[ImageSpec, ...] = ()
    files: tuple[FileSpec, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    """Variables of roles, with their values."""
    image_variables: Mapping[str, str] = field(default_factory=dict)
    """Variables of roles that take the full reference of an image: variable to the image's name."""
    requires: Requirements = field(default_factory=Requirements)
    end_of_life: str = ""
    """Last day on which its publisher mends it, ``YYYY-MM-DD``; empty where none was announced."""

    def applies_to(self, cluster: Cluster) -> bool:
        """Tell whether a cluster wants it; raises ValueError for a condition of no known form."""
        kind, _, name = self.condition.partition(": ")
        match kind:
            case "":
                return True
            case "cni":
                return cluster.network.cni == name
            case "addon":
                return any(addon.name == name for addon in cluster.addons)
        raise ValueError(f"{self.name}: no such condition: {self.condition!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The sets that a cluster of one version of Kubernetes consists of."""

    kubernetes_version: str
    sets: tuple[ArtifactSet, ...]

    def with_sets(self, more: Sequence[ArtifactSet]) -> Release:
        """Return the release with further sets."""
        return Release(kubernetes_version=self.kubernetes_version, sets=(*self.sets, *more))

    @property
    def components(self) -> tuple[Component, ...]:
        """All components, set by set."""
        return tuple(component for one in self.sets for component in one.components)

    @property
    def images(self) -> tuple[ImageSpec, ...]:
        """All images, set by set."""
        return tuple(image for one in self.sets for image in one.images)

    def of_package(self, name: str) -> tuple[Component, ...]:
        """Return the components of one package."""
        return tuple(component for component in self.components if component.role == name)

    def image(self, name: str) -> ImageSpec:
        """Return the image called ``name``; raises KeyError."""
        for image in self.images:
            if image.name == name:
                return image
        raise KeyError(name)


_PROVENANCE = frozenset({"digests", "downloads", "expect", "memory_gib", "seconds"})
_CONTENT = frozenset({"arguments", "environment", "files", "links", "more_recipes", "programs"})
_RECIPE = frozenset({"base", "build_ref", "recipe"}) | _CONTENT
_LATER = frozenset({"keep", "replace"}) | _CONTENT
"""Fields that came after the first release: unset, they do not count, and what was made before them
keeps its key."""


def key(*specs: object, built: bool) -> str:
    """Return 16 hex digits that change when what is made from the specs would change.

    Without ``built`` only names, versions and places count, not how we build.
    """
    ignored = _PROVENANCE if built else _PROVENANCE | _RECIPE
    text = json.dumps([_plain(spec, ignored) for spec in specs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: object, ignored: frozenset[str]) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        counting = [item.name for item in fields(value) if item.metadata.get(_COUNTS, True)]
        value = {name: getattr(value, name) for name in counting}
    if isinstance(value, Mapping):
        return {
            name: _plain(v, ignored)
            for name, v in value.items()
            if name not in ignored and (v or name not in _LATER)
        }
    if isinstance(value, (tuple, list)):
        return [_plain(part, ignored) for part in value]
    return value
