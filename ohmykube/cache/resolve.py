"""Versions into digests: from the cache, else from the first source that can bring them.

With everything in the cache no source is loaded, no connection opened and no program started.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ohmykube.cache import catalog, oci, pack, signatures
from ohmykube.cache.bundle.missing import offline_missing
from ohmykube.cache.chain import Chain
from ohmykube.cache.sources import base
from ohmykube.cache.store import Ref
from ohmykube.cache.wanted import Package, Want, Wanted
from ohmykube.errors import NetworkError, PrerequisiteError
from ohmykube.kit import amounts, architecture, parallel
from ohmykube.kit import paths as places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ohmykube.cache.catalog import Component, FileSpec, ImageSpec, Release
    from ohmykube.cache.sources.base import Source, SourceContext
    from ohmykube.cache.store import Store
    from ohmykube.kit.paths import Paths
    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.cluster import Cluster
    from ohmykube.progress import Reporter

    Binaries = tuple[Mapping[str, Path], str]
    """Files by the names of binaries, and the source that gave them."""

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
    release: Release,
    store: Store,
    reporter: Reporter,
    *,
    architectures: Sequence[str] = (),
    paths: Paths | None = None,
    load: Callable[[str, SourceContext], Source] = base.load,
    offline: bool = False,
) -> ArtifactLock:
    """Return the digests of everything that nodes of ``cluster`` need, all of it in ``store``.

    Args:
        cluster: its order of sources counts.
        release: the sets of artifacts that it consists of.
        store: the cache.
        reporter: told what is fetched or built and which source cannot be used.
        architectures: of the nodes; this machine's by default.
        paths: handed to sources.
        load: makes a source by its name; for tests.
        offline: ask no source, not even whether it is there.

    Raises:
        NotFoundError: ``offline``, and something is not in the store; all of it is named.
        NetworkError: no source has something; names each source's reason.
        IntegrityError: something is not what the catalog says. Other sources are not tried then.
        PrerequisiteError: the only reasons are missing programs on this host, or no source brings
            anything for one of the architectures.
    """
    wanted = _wanted(cluster, release, store, architectures, offline=offline)
    missing = wanted.missing()
    # What is missing is counted by who fetches it.
    store.count("hits", len(wanted.found))
    store.count("bytes_saved", sum(ref.size for ref in wanted.found.values()))
    if missing and offline:
        raise offline_missing(_described(wanted, missing))
    if missing:
        context = base.SourceContext(
            store=store,
            sources=cluster.sources,
            reporter=reporter,
            paths=paths or places.from_environment(),
            trust=cluster.trust,
            proxy=cluster.proxy.here if cluster.proxy is not None else None,
            registries=cluster.registries,
        )
        with store.using():
            _fetch(wanted, missing, Chain(_order(cluster), context, load))
    return wanted.lock()


def known(
    cluster: Cluster, release: Release, store: Store, *, architectures: Sequence[str] = ()
) -> ArtifactLock | None:
    """Return the lock that ``resolve`` would give without a source; None if something is missing.

    Only looks: nothing is counted, made or kept.

    Raises:
        PrerequisiteError: as ``host_arch``.
    """
    wanted = _wanted(cluster, release, store, architectures, offline=False)
    return None if wanted.missing() else wanted.lock()


def missing(
    cluster: Cluster, release: Release, store: Store, *, architectures: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return what an offline run of ``cluster`` would not find in the store, for people.

    Raises:
        PrerequisiteError: as ``host_arch``.
    """
    wanted = _wanted(cluster, release, store, architectures, offline=True)
    return tuple(_described(wanted, wanted.missing()))


def _wanted(
    cluster: Cluster,
    release: Release,
    store: Store,
    architectures: Sequence[str],
    *,
    offline: bool,
) -> Wanted:
    # Offline no source is asked: what is here was given by the user, in a bundle for example, and
    # whoever made that may have had other sources.
    order = None if offline else _order(cluster)
    return Wanted(release, architectures or (host_arch(),), store, order)


def _order(cluster: Cluster) -> tuple[str, ...]:
    mirror = cluster.sources.mirror is not None
    return tuple(name for name in cluster.sources.order if name != "mirror" or mirror)


def _described(wanted: Wanted, missing: Sequence[Want]) -> list[str]:
    """Return what people call artifacts; with the architecture where there are several."""
    several = len(wanted.architectures) > 1
    return [
        f"{want.described} ({want.arch})" if several and want.arch != catalog.ANY
        else want.described
        for want in missing
    ]  # fmt: skip


def _fetch(wanted: Wanted, missing: Sequence[Want], chain: Chain) -> None:
    for arch in dict.fromkeys(want.arch for want in missing):
        chain.insist(arch)
    packages = [want for want in missing if isinstance(want.spec, Package)]
    # What shares a big module first: the long job starts first, the short ones fill the gaps.
    jobs: list[tuple[Component | ImageSpec | FileSpec, Want]] = []
    for want in missing:
        if isinstance(want.spec, Package):
            jobs += [(component, want) for component in want.spec.components]
        else:
            jobs.append((want.spec, want))
    jobs.sort(key=lambda job: -_seconds(job[0]))
    _announce(chain, jobs)
    binaries: dict[tuple[Want, str], Binaries] = {}

    def one(job: tuple[Component | ImageSpec | FileSpec, Want]) -> None:
        spec, want = job
        what = f"{spec.name} {spec.version}"
        if isinstance(spec, catalog.Component):
            files, source = chain.first(what, want.arch, lambda s: s.component(spec, want.arch))
            binaries[want, spec.name] = (files, source.name)
        elif isinstance(spec, catalog.ImageSpec):
            digest, source = chain.first(
                what, want.arch, lambda s: _image(wanted, spec, want.arch, s)
            )
            _keep_image(wanted, want, digest, source)
        else:
            path, source = chain.first(what, want.arch, lambda s: _file(spec, want.arch, s))
            _keep_file(wanted, want, path, source)

    parallel.each(jobs, one, at_most=AT_ONCE)
    parallel.each(packages, lambda want: _pack(wanted, want, binaries), at_most=1)


def _file(file: FileSpec, arch: str, source: Source) -> Path:
    if file.module is not None:
        return source.module_file(file.module)
    return source.release_file(file, arch)


def _seconds(spec: Component | ImageSpec | FileSpec) -> float:
    recipes = () if isinstance(spec, catalog.FileSpec) else spec.recipes
    return float(sum(recipe.seconds for recipe in recipes))


def _announce(chain: Chain, jobs: Sequence[tuple[Component | ImageSpec | FileSpec, Want]]) -> None:
    seconds, name = 0.0, ""
    for arch in dict.fromkeys(want.arch for _, want in jobs):
        source = chain.usable(arch)
        specs = [
            spec
            for spec, want in jobs
            if want.arch == arch and not isinstance(spec, catalog.FileSpec)
        ]
        told = source.estimate(specs, arch) if source is not None else 0.0
        if source is not None and told:
            seconds, name = seconds + told, source.name
    if seconds >= _WORTH_SAYING_SECONDS:
        minutes = amounts.count(max(1, round(seconds / 60)), "minute")
        processors = amounts.count(os.cpu_count() or 1, "processor")
        chain.tell(
            f"{name}: about {minutes} on {processors}, once; "
            "a run that is stopped goes on from there"
        )


def _keep_image(wanted: Wanted, want: Want, digest: str, source: Source) -> None:
    image = want.spec
    if not isinstance(image, catalog.ImageSpec):
        raise TypeError(f"{want.described} is no image")
    ref = Ref(
        kind=want.kind,
        name=source.reference(image),
        version=image.version,
        arch=want.arch,
        digest=digest,
        size=oci.image_size(wanted.store, digest),
        source=source.name,
        url=want.identity(source.name),
        index=source.index_of(digest),
    )
    wanted.keep(want, ref)


def _keep_file(wanted: Wanted, want: Want, path: Path, source: Source) -> None:
    digest, size = wanted.store.put_file(path)
    ref = Ref(
        kind=want.kind,
        name=want.names[0],
        version=want.spec.version,
        arch=want.arch,
        digest=digest,
        size=size,
        source=source.name,
        url=want.identity(source.name),
    )
    wanted.keep(want, ref)


def _image(wanted: Wanted, image: ImageSpec, arch: str, source: Source) -> str:
    """Return the digest of an image that a source brings.

    Raises:
        NetworkError: it has another reference there than its publisher's, and a pod on nodes of
            several architectures has one for all of them.
    """
    if wanted.one_reference and source.reference(image) != image.ref:
        raise NetworkError(
            f"its image is {source.reference(image)}",
            why="nodes of several architectures need one reference for all of them",
            hint="add `upstream` or a mirror to spec.artifacts.sources in the cluster file",
            id="OMK-I-314",
        )
    return source.image(image, arch)


def _pack(wanted: Wanted, want: Want, binaries: Mapping[tuple[Want, str], Binaries]) -> None:
    package = want.spec
    if not isinstance(package, Package):
        raise TypeError(f"{want.described} is no package")
    parts = [(one, binaries[want, one.name]) for one in package.components]
    members = {
        destination.lstrip("/"): pack.Member(files[name], 0o755)
        for component, (files, _) in parts
        for name, destination in component.installs.items()
    }
    source = "+".join(sorted({name for _, (_, name) in parts}))
    target = wanted.store.ingest / f"pack-{package.name}-{want.arch}-{os.getpid()}.tar.zst"
    packed = pack.pack(members, target)
    wanted.store.adopt(target, expected=packed.digest)
    ref = Ref(
        kind=want.kind,
        name=package.name,
        version=package.version,
        arch=want.arch,
        digest=packed.digest,
        size=packed.size,
        source=source,
        url=want.identity(source),
        content_digest=packed.content_digest,
        signature=signatures.weakest(wanted.store, (m.path for m in members.values())),
    )
    wanted.keep(want, ref)
