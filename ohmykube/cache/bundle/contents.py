"""What goes into a bundle: references of the store, and all blobs that they need."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ohmykube.cache import catalog, manifest
from ohmykube.cache.bundle.document import ROLES, Component, Entry
from ohmykube.errors import NotFoundError
from ohmykube.model.artifact import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ohmykube.cache.bundle.document import Role
    from ohmykube.cache.catalog import Release
    from ohmykube.cache.store import Ref, Store
    from ohmykube.model.artifact import ArtifactLock, LockedArtifact

_MANIFESTS = frozenset(manifest.ACCEPT.split(", "))


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleContents:
    """What is to be written; ``entries`` in the order of the tar."""

    name: str
    refs: tuple[Ref, ...]
    entries: tuple[Entry, ...]
    components: tuple[Component, ...]
    kubernetes: str = ""
    arch: str = ""
    provider: str = ""
    lacks: tuple[str, ...] = field(default=())

    @property
    def named(self) -> tuple[Ref, ...]:
        """Return the references as the bundle tells them: none to an index that is not in it."""
        whole = {entry.digest for entry in self.entries}
        return tuple(r if r.index in whole else replace(r, index="") for r in self.refs)


def entries(store: Store, wanted: Iterable[tuple[Ref, Role]]) -> tuple[Entry, ...]:
    """Return all blobs of the references, each once, by role and then from small to large.

    Raises:
        NotFoundError: one is not in the store.
        IntegrityError: a manifest is damaged.
    """
    found: dict[str, Entry] = {}
    for ref, role in wanted:
        for digest, kind in _blobs(store, ref).items():
            before = found.get(digest)
            nearer = min((role, before.role), key=ROLES.index) if before else role
            size = store.locate(digest).size
            found[digest] = Entry(digest=digest, size=size, kind=kind, role=nearer)
    return tuple(sorted(found.values(), key=lambda e: (ROLES.index(e.role), e.size, e.digest)))


def _blobs(store: Store, ref: Ref) -> dict[str, str]:
    if ref.kind is not Kind.IMAGE:
        return {ref.digest: ref.kind.value}
    found = manifest.closure(store, ref.digest)
    if ref.index and store.has(ref.index):
        found[ref.index] = manifest.read(store, ref.index).media_type
    return {d: "manifest" if media in _MANIFESTS else "layer" for d, media in found.items()}


def of_lock(store: Store, lock: ArtifactLock) -> list[tuple[Ref, Role]]:
    """Return the references of everything that nodes need, with their roles.

    Raises:
        NotFoundError: something was removed from the cache meanwhile.
    """
    known = {(ref.kind, ref.name, ref.arch, ref.digest): ref for ref in store.refs()}
    found: list[tuple[Ref, Role]] = []
    for artifact in lock.artifacts:
        ref = known.get((artifact.kind, artifact.name, artifact.arch, artifact.digest))
        if ref is None:
            raise NotFoundError(
                f"{artifact.name} is not in the cache any more",
                hint="run the same command again",
                id="OMK-I-420",
            )
        found.append((ref, _role(artifact)))
    return found


def _role(artifact: LockedArtifact) -> Role:
    if not artifact.node_roles:
        return "host"
    return "node" if "worker" in artifact.node_roles else "control-plane"


def components(refs: Iterable[Ref], release: Release | None) -> tuple[Component, ...]:
    """Return one component for each reference, and one for each part of a package.

    Licences are not known here.
    """
    found = [
        Component(
            kind=ref.kind.value, name=ref.name, version=ref.version, arch=ref.arch,
            digest=ref.digest,
        )
        for ref in refs
    ]  # fmt: skip
    packages = [ref for ref in refs if ref.kind is Kind.PACKAGE]
    for part in release.components if release else ():
        for package in packages:
            if package.name == part.role:
                found += _parts(part, package)
    return tuple(sorted(found, key=lambda c: (c.kind, c.name, c.version, c.arch)))


def _parts(part: catalog.Component, package: Ref) -> list[Component]:
    return [
        Component(
            kind=Kind.BINARY.value,
            name=name,
            version=part.version,
            arch=package.arch,
            digest=package.digest,
            part_of=package.name,
        )
        for name in part.installs
    ]
