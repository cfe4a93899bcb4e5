"""What one release needs for some architectures, what of it is in the store, and its lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ohmykube.cache import catalog, oci
from ohmykube.cache.catalog import EVERYWHERE, FileSpec, ImageSpec
from ohmykube.model.artifact import ArtifactLock, Kind, LockedArtifact, LockedSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ohmykube.cache.catalog import ArtifactSet, Component, Release
    from ohmykube.cache.store import Ref, Store


@dataclass(frozen=True, slots=True)
class Package:
    """Components that are packed together."""

    name: str
    components: tuple[Component, ...]

    @property
    def version(self) -> str:
        """The versions of all components, each once."""
        parts = {f"{c.name}-{c.version}": c.version for c in self.components}
        return "_".join(parts) if len(set(parts.values())) > 1 else next(iter(parts.values()))


Spec: TypeAlias = Package | ImageSpec | FileSpec


@dataclass(frozen=True, slots=True, eq=False)
class Want:
    """One artifact for one architecture; made once, and told from others by being another one."""

    set_name: str
    spec: Spec
    arch: str

    @property
    def kind(self) -> Kind:
        """What sort of artifact it is."""
        match self.spec:
            case Package():
                return Kind.PACKAGE
            case ImageSpec():
                return Kind.IMAGE
            case _:
                return self.spec.kind

    @property
    def names(self) -> tuple[str, ...]:
        """The names that its reference may have in the store; of an image the publisher's first."""
        match self.spec:
            case Package():
                return (self.spec.name,)
            case ImageSpec():
                return tuple(filter(None, (self.spec.ref, self.spec.build_ref)))
            case _:
                return (f"{self.set_name}/{self.spec.name}",)

    @property
    def described(self) -> str:
        """What people call it."""
        match self.spec:
            case Package():
                what = f"package {self.spec.name}"
            case _:
                what = self.names[0]
        return what

    def identity(self, source: str) -> str:
        """Return what a cached artifact must have been made from to be taken again."""
        built = "build" in source.split("+")
        specs: Sequence[object] = (
            self.spec.components if isinstance(self.spec, Package) else (self.spec,)
        )
        return f"catalog:{catalog.key(*specs, built=built)}"


def wants(release: Release, architectures: Sequence[str]) -> Iterator[Want]:
    """Return everything that nodes of some architectures need, in a fixed order."""
    for one in release.sets:
        packages = dict.fromkeys(component.role for component in one.components)
        for arch in architectures:
            for name in packages:
                parts = tuple(c for c in one.components if c.role == name)
                yield Want(one.name, Package(name, parts), arch)
            for image in one.images:
                yield Want(one.name, image, arch)
        for file in one.files:
            for arch in file.architectures:
                if arch in (*architectures, catalog.ANY):
                    yield Want(one.name, file, arch)


class Wanted:
    """What is wanted, and what of it was found or brought."""

    def __init__(
        self,
        release: Release,
        architectures: Sequence[str],
        store: Store,
        order: Sequence[str] | None,
    ) -> None:
        """Look for nothing yet.

        Args:
            release: has the sets.
            architectures: of the nodes.
            store: the cache.
            order: the sources whose artifacts are taken; None for all.
        """
        self.release = release
        self.architectures = tuple(sorted(set(architectures)))
        self.store = store
        self._order = None if order is None else frozenset(order)
        self.all = tuple(wants(release, self.architectures))
        self.found: dict[Want, Ref] = {}

    @property
    def one_reference(self) -> bool:
        """Tell whether images must have their publishers' references: one must do for all nodes."""
        return len(self.architectures) > 1

    def missing(self) -> list[Want]:
        """Look for everything in the store and return what is not there."""
        # One read of the references for all: this is the hot path of every run.
        cached = {ref.key: ref for ref in self.store.refs()}
        for want in self.all:
            for name in want.names[:1] if self.one_reference else want.names:
                ref = cached.get((want.kind, name, want.spec.version, want.arch))
                if want not in self.found and ref is not None and self._usable(want, ref):
                    self.found[want] = ref
        return [want for want in self.all if want not in self.found]

    def _usable(self, want: Want, ref: Ref) -> bool:
        if self._order is not None and not set(ref.source.split("+")) <= self._order:
            return False
        if ref.url != want.identity(ref.source):
            return False
        if want.kind is Kind.IMAGE:
            return oci.is_complete(self.store, ref.digest)
        return self.store.has(ref.digest)

    def keep(self, want: Want, ref: Ref) -> None:
        """Record something that has just been brought."""
        self.store.set_ref(ref)
        self.found[want] = ref

    def lock(self) -> ArtifactLock:
        """Return the lock; everything must have been found or kept."""
        return ArtifactLock(
            kubernetes_version=self.release.kubernetes_version,
            architectures=self.architectures,
            sets=tuple(self._locked(one) for one in self.release.sets),
        )

    def _locked(self, one: ArtifactSet) -> LockedSet:
        mine = [want for want in self.all if want.set_name == one.name]
        references = {w.spec.name: self.found[w].name for w in mine if w.kind is Kind.IMAGE}
        return LockedSet(
            name=one.name,
            version=one.version,
            artifacts=tuple(_artifact(want, self.found[want]) for want in mine),
            variables={**one.variables, **_references(one.image_variables, references)},
        )


def _references(wanted: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    return {variable: found[image] for variable, image in wanted.items()}


def _artifact(want: Want, ref: Ref) -> LockedArtifact:
    spec = want.spec
    version = spec.version
    roles: tuple[str, ...] = EVERYWHERE
    if isinstance(spec, Package):
        version = spec.components[0].version
    elif isinstance(spec, ImageSpec):
        version, roles = ref.name.rpartition(":")[2], spec.node_roles
    else:
        roles = spec.node_roles
    return LockedArtifact(
        kind=want.kind,
        name=ref.name,
        version=version,
        arch=want.arch,
        digest=ref.digest,
        size=ref.size,
        source=ref.source,
        node_roles=roles,
        content_digest=ref.content_digest,
    )
