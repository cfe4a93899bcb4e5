"""Versions into digests: from the cache, else from the first source that can bring them.

With everything in the cache no source is loaded, no connection opened and no program started.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TypeVar

from ohmykube.cache import catalog, oci, pack, releases, signatures
from ohmykube.cache.bundle.missing import offline_missing
from ohmykube.cache.sources import base
from ohmykube.cache.store import Ref
from ohmykube.errors import NetworkError, OhmykubeError, PrerequisiteError
from ohmykube.kit import amounts, architecture, parallel
from ohmykube.kit import paths as places
from ohmykube.model.artifact import ArtifactLock, Kind, LockedArtifact, PackageRole
from ohmykube.progress import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ohmykube.cache.catalog import Component, ImageSpec, Release
    from ohmykube.cache.sources.base import Source, SourceContext
    from ohmykube.cache.store import Store
    from ohmykube.kit.paths import Paths
    from ohmykube.model.cluster import Cluster
    from ohmykube.progress import Reporter

T = TypeVar("T")
AT_ONCE = 16
"""Artifacts under way: most of them wait for a lock or for the build gate."""
_WORTH_SAYING_SECONDS = 30.0


def host_arch() -> str:
    """Return the architecture of this machine as artifacts name it; raises PrerequisiteError."""
    arch = architecture.host()
    if arch not in catalog.ARCHITECTURES:
        raise PrerequisiteError(
            f"there are no node components for {arch}",
            why=f"known: {', '.join(catalog.ARCHITECTURES)}",
            hint="ohmykube up --provider ssh  (with nodes of a known architecture)",
            id="OMK-H-201",
        )
    return arch


def resolve(
    cluster: Cluster,
    store: Store,
    reporter: Reporter,
    *,
    arch: str | None = None,
    paths: Paths | None = None,
    load: Callable[[str, SourceContext], Source] = base.load,
    offline: bool = False,
) -> ArtifactLock:
    """Return the digests of everything that nodes of ``cluster`` need, all of it in ``store``.

    Args:
        cluster: its version of Kubernetes and its order of sources count.
        store: the cache.
        reporter: told what is fetched or built and which source cannot be used.
        arch: of the nodes; this machine's by default.
        paths: handed to sources.
        load: makes a source by its name; for tests.
        offline: ask no source, not even whether it is there.

    Raises:
        ConfigError: a version of Kubernetes that is not supported.
        NotFoundError: ``offline``, and something is not in the store; all of it is named.
        NetworkError: no source has something; names each source's reason.
        IntegrityError: something is not what the catalog says. Other sources are not tried then.
        PrerequisiteError: the only reasons are missing programs on this host.
    """
    run = _looked_for(cluster, store, arch, offline=offline)
    missing = run.missing()
    order = _order(cluster)
    # What is missing is counted by who fetches it.
    store.count("hits", len(run.found))
    store.count("bytes_saved", sum(ref.size for ref in run.found.values()))
    if missing and offline:
        raise offline_missing([run.described(want) for want in missing])
    if missing:
        context = base.SourceContext(
            store=store,
            sources=cluster.sources,
            reporter=reporter,
            paths=paths or places.from_environment(),
        )
        with store.using():
            _fetch(run, missing, Chain(order, context, load))
    return run.lock()


def known(cluster: Cluster, store: Store) -> ArtifactLock | None:
    """Return the lock if the store has all of it, else None; only looks. Raises as ``missing``."""
    run = _looked_for(cluster, store, None, offline=False)
    return None if run.missing() else run.lock()


def missing(cluster: Cluster, store: Store, *, arch: str | None = None) -> tuple[str, ...]:
    """Return what an offline run would not find in the store, for people. Raises as ``resolve``."""
    run = _looked_for(cluster, store, arch, offline=True)
    return tuple(run.described(want) for want in run.missing())


def _looked_for(cluster: Cluster, store: Store, arch: str | None, *, offline: bool) -> _Run:
    release = releases.release(cluster.kubernetes_version)
    # Whoever made a bundle may have had a mirror that this host has not.
    order = cluster.sources.order if offline else _order(cluster)
    return _Run(release, arch or host_arch(), store, order)


def _order(cluster: Cluster) -> tuple[str, ...]:
    mirror = cluster.sources.mirror is not None
    return tuple(name for name in cluster.sources.order if name != "mirror" or mirror)


class Chain:
    """The sources of one run: each is loaded and asked once; a warning names a useless one once."""

    def __init__(
        self,
        order: Sequence[str],
        context: SourceContext,
        load: Callable[[str, SourceContext], Source],
    ) -> None:
        self._order = tuple(order)
        self._context = context
        self._load = load
        self._lock = threading.Lock()
        self._usable: dict[str, Source | OhmykubeError] = {}

    def first(self, what: str, bring: Callable[[Source], T]) -> tuple[T, Source]:
        """Return what the first source gives that can, and that source; raises as ``resolve``."""
        reasons: list[tuple[str, OhmykubeError]] = []
        for position, name in enumerate(self._order):
            source = self._source(name, self._order[position + 1 :])
            if isinstance(source, OhmykubeError):
                reasons.append((name, source))
                continue
            try:
                return bring(source), source
            except (NetworkError, PrerequisiteError) as error:
                reasons.append((name, error))
        raise _nobody(what, reasons)

    def usable(self) -> Source | None:
        """Return the first source that can be asked, or None."""
        for position, name in enumerate(self._order):
            source = self._source(name, self._order[position + 1 :])
            if not isinstance(source, OhmykubeError):
                return source
        return None

    def tell(self, text: str) -> None:
        """Say one line to the user."""
        self._context.reporter.emit(Message(text=text))

    def _source(self, name: str, rest: Sequence[str]) -> Source | OhmykubeError:
        with self._lock:
            if name not in self._usable:
                self._usable[name] = self._ask(name, rest)
            return self._usable[name]

    def _ask(self, name: str, rest: Sequence[str]) -> Source | OhmykubeError:
        try:
            source = self._load(name, self._context)
            source.available()
        except (NetworkError, PrerequisiteError) as error:
            following = f"trying {rest[0]} next" if rest else "it was the last one"
            self._context.reporter.emit(
                Message(
                    level="warning",
                    text=f"source {name} cannot be used ({_reason(error)}); {following}",
                )
            )
            return error
        return source


def _reason(error: OhmykubeError) -> str:
    why = (error.why or "").strip().splitlines()
    return f"{error.message}: {why[-1]}" if why else error.message


def _nobody(what: str, reasons: Sequence[tuple[str, OhmykubeError]]) -> OhmykubeError:
    if not reasons:
        return NetworkError(
            f"there is no source for {what}",
            why="the cluster file lists none that is set up",
            hint="ohmykube config show  (look at sources.order)",
            id="OMK-I-220",
        )
    hosts = [error for _, error in reasons if isinstance(error, PrerequisiteError)]
    # What is missing on the host comes last: that is what the user can mend at once.
    chosen = hosts[-1] if hosts else reasons[-1][1]
    why = "\n".join(f"{name}: {_reason(error)}" for name, error in reasons)
    hint = chosen.hint or "run the same command again once a source can be reached"
    if len(hosts) == len(reasons):
        return PrerequisiteError(f"no source has {what}", why=why, hint=hint, id="OMK-I-221")
    return NetworkError(f"no source has {what}", why=why, hint=hint, id="OMK-I-220")


class _Run:
    """What one release needs, what of it is in the store, and the lock made of that."""

    def __init__(self, release: Release, arch: str, store: Store, order: tuple[str, ...]) -> None:
        self.release = release
        self.arch = arch
        self.store = store
        self._order = frozenset(order)
        self.found: dict[str, Ref] = {}

    def missing(self) -> list[PackageRole | ImageSpec]:
        """Look for everything in the store and return what is not there."""
        # One read of the references for all: this is the hot path of every run.
        cached = {ref.key: ref for ref in self.store.refs()}
        for role in PackageRole:
            self._take(role.value, cached.get(self._package_key(role)))
        for image in self.release.images:
            for reference in {image.ref, image.build_ref} - {""}:
                key = (Kind.IMAGE, reference, image.version, self.arch)
                self._take(image.name, cached.get(key))
        wanted = (*PackageRole, *self.release.images)
        return [want for want in wanted if _name(want) not in self.found]

    def _take(self, name: str, ref: Ref | None) -> None:
        if ref is None or name in self.found or not set(ref.source.split("+")) <= self._order:
            return
        if ref.url != self.identity(name, ref.source):
            return
        good = (
            oci.is_complete(self.store, ref.digest)
            if ref.kind is Kind.IMAGE
            else self.store.has(ref.digest)
        )
        if good:
            self.found[name] = ref

    def keep(self, name: str, ref: Ref) -> None:
        """Record something that has just been brought."""
        self.store.set_ref(ref)
        self.found[name] = ref

    def identity(self, name: str, source: str) -> str:
        """Return what a cached artifact must have been made from to be taken again."""
        built = "build" in source.split("+")
        if name in set(PackageRole):
            specs: tuple[object, ...] = self.release.of_role(PackageRole(name))
        else:
            specs = (self.release.image(name),)
        return f"catalog:{catalog.key(*specs, built=built)}"

    def described(self, want: PackageRole | ImageSpec) -> str:
        """Return what people call it."""
        if isinstance(want, PackageRole):
            return f"package {want.value}"
        return want.ref

    def _package_key(self, role: PackageRole) -> tuple[Kind, str, str, str]:
        return (Kind.PACKAGE, role.value, self.package_version(role), self.arch)

    def package_version(self, role: PackageRole) -> str:
        """Return the versions of all components of a package, each once."""
        parts = {f"{c.name}-{c.version}": c.version for c in self.release.of_role(role)}
        return "_".join(parts) if len(set(parts.values())) > 1 else next(iter(parts.values()))

    def lock(self) -> ArtifactLock:
        """Return the lock; everything must have been found or kept."""
        packages = [self._locked_package(role) for role in PackageRole]
        images = [self._locked_image(image) for image in self.release.images]
        refs = {image.name: self.found[image.name].name for image in self.release.images}
        settings = {
            **self.release.settings,
            "pause_image": refs["pause"],
            "flannel_image": refs["flannel"],
            "flannel_cni_image": refs["flannel-cni-plugin"],
        }
        return ArtifactLock(
            kubernetes_version=self.release.kubernetes_version,
            arch=self.arch,
            artifacts=(*packages, *images),
            settings=settings,
        )

    def _locked_package(self, role: PackageRole) -> LockedArtifact:
        ref = self.found[role.value]
        return LockedArtifact(
            kind=Kind.PACKAGE,
            name=role.value,
            version=self.release.of_role(role)[0].version,
            arch=self.arch,
            digest=ref.digest,
            size=ref.size,
            source=ref.source,
            content_digest=ref.content_digest,
        )

    def _locked_image(self, image: ImageSpec) -> LockedArtifact:
        ref = self.found[image.name]
        return LockedArtifact(
            kind=Kind.IMAGE,
            name=ref.name,
            version=ref.name.rpartition(":")[2],
            arch=self.arch,
            digest=ref.digest,
            size=ref.size,
            source=ref.source,
            node_roles=image.node_roles,
        )


def _name(want: PackageRole | ImageSpec) -> str:
    return want.value if isinstance(want, PackageRole) else want.name


def _fetch(run: _Run, missing: Sequence[PackageRole | ImageSpec], chain: Chain) -> None:
    roles = [want for want in missing if isinstance(want, PackageRole)]
    images = [want for want in missing if not isinstance(want, PackageRole)]
    components = [c for role in roles for c in run.release.of_role(role)]
    # What shares a big module first: the long job starts first, the short ones fill the gaps.
    specs: list[Component | ImageSpec] = [*images, *components]
    specs.sort(key=lambda spec: -(spec.recipe.seconds if spec.recipe else 0))
    _announce(chain, specs, run.arch)
    binaries: dict[str, tuple[Mapping[str, Path], str]] = {}

    def one(spec: Component | ImageSpec) -> None:
        what = f"{spec.name} {spec.version}"
        if isinstance(spec, catalog.Component):
            files, source = chain.first(what, lambda s: s.component(spec, run.arch))
            binaries[spec.name] = (files, source.name)
        else:
            digest, source = chain.first(what, lambda s: s.image(spec, run.arch))
            _keep_image(run, spec, digest, source)

    parallel.each(specs, one, at_most=AT_ONCE)
    parallel.each(roles, lambda role: _pack(run, role, binaries), at_most=1)


def _announce(chain: Chain, specs: Sequence[Component | ImageSpec], arch: str) -> None:
    source = chain.usable()
    seconds = source.estimate(specs, arch) if source is not None else 0.0
    if source is not None and seconds >= _WORTH_SAYING_SECONDS:
        minutes = amounts.count(max(1, round(seconds / 60)), "minute")
        processors = amounts.count(os.cpu_count() or 1, "processor")
        chain.tell(
            f"{source.name}: about {minutes} on {processors}, once; "
            "a run that is stopped goes on from there"
        )


def _keep_image(run: _Run, image: ImageSpec, digest: str, source: Source) -> None:
    ref = Ref(
        kind=Kind.IMAGE,
        name=source.reference(image),
        version=image.version,
        arch=run.arch,
        digest=digest,
        size=oci.image_size(run.store, digest),
        source=source.name,
        url=run.identity(image.name, source.name),
        index=source.index_of(digest),
    )
    run.keep(image.name, ref)


def _pack(
    run: _Run, role: PackageRole, binaries: Mapping[str, tuple[Mapping[str, Path], str]]
) -> None:
    components = run.release.of_role(role)
    members = {
        destination.lstrip("/"): pack.Member(binaries[component.name][0][name], 0o755)
        for component in components
        for name, destination in component.installs.items()
    }
    source = "+".join(sorted({binaries[component.name][1] for component in components}))
    target = run.store.ingest / f"pack-{role.value}-{os.getpid()}.tar.zst"
    packed = pack.pack(members, target)
    run.store.adopt(target, expected=packed.digest)
    run.keep(
        role.value,
        Ref(
            kind=Kind.PACKAGE,
            name=role.value,
            version=run.package_version(role),
            arch=run.arch,
            digest=packed.digest,
            size=packed.size,
            source=source,
            url=run.identity(role.value, source),
            content_digest=packed.content_digest,
            signature=signatures.weakest(run.store, (m.path for m in members.values())),
        ),
    )
