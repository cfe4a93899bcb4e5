"""What a workflow begins with: a cluster's lock, record, provider and a private run directory."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.ansible import workspace
from ohmykube.cache.bundle import tar_member
from ohmykube.cache.store import Store
from ohmykube.config.load import from_document
from ohmykube.errors import NotFoundError, OhmykubeError
from ohmykube.kit import architecture, digest, files, process
from ohmykube.model.artifact import Kind, PackageRole
from ohmykube.planning import addresses
from ohmykube.planning.diff import ANY_PROVIDER
from ohmykube.providers import registry
from ohmykube.providers.base import ProviderContext
from ohmykube.state import layout
from ohmykube.steps.context import Context
from ohmykube.steps.run_options import RunOptions
from ohmykube.workflows import names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.cluster import Cluster
    from ohmykube.model.networks import IpNetwork
    from ohmykube.providers.base import Provider
    from ohmykube.state.record import Record
    from ohmykube.steps.context import Services

_KUBECTL = "usr/local/bin/kubectl"


def provider_of(services: Services, name: str, cluster: Cluster | None) -> Provider:
    """Return the provider called ``name`` (or the first that works, for ``auto``)."""
    context = ProviderContext(paths=services.paths, reporter=services.reporter, cluster=cluster)
    return registry.load(name, context)


def recorded(services: Services, name: str) -> tuple[Record, Cluster]:
    """Return the record of an existing cluster and the cluster it describes.

    Raises:
        NotFoundError: no such cluster; names those that exist.
        IntegrityError: its record is damaged.
    """
    store = services.state
    record = store.read(name)
    if record is None:
        raise names.unknown(services, name)
    return record, from_document(record.document)


def looking(services: Services, cluster: Cluster, options: RunOptions | None = None) -> Context:
    """Return what steps need that only look: no lock is held, and nothing is made.

    Args:
        services: of the command.
        cluster: as it is wanted.
        options: where artifacts may come from; by default from anywhere.
    """
    store = services.state
    record = store.read(cluster.name)
    recorded = None
    if record is not None:
        recorded = replace(from_document(record.document), provider=record.provider)
    cluster = addresses.settled(cluster, recorded, lambda: _networks_of_others(services, cluster))
    described = cluster
    if recorded is not None and cluster.provider not in (ANY_PROVIDER, recorded.provider):
        described = recorded  # the options are another provider's, and the change is refused
    name = record.provider if record else cluster.provider
    directory = store.directory(cluster.name)
    return Context(
        services=services,
        cluster=cluster,
        provider=provider_of(services, name, described),
        directory=directory,
        run_directory=directory,
        record=record,
        recorded=recorded,
        options=options or RunOptions(),
    )


def _networks_of_others(services: Services, cluster: Cluster) -> list[IpNetwork]:
    """Return the networks that this host reaches, and those of the other clusters here."""
    found = [route.network for route in services.routes()]
    for name in services.state.names():
        # Of a record that cannot be read, the cluster's own commands complain.
        with contextlib.suppress(OhmykubeError):
            record = services.state.read(name) if name != cluster.name else None
            if record is not None:
                found += addresses.networks(from_document(record.document).network)
    return found


def opened(services: Services, cluster: Cluster, options: RunOptions | None = None) -> Context:
    """Return the same with a run directory of its own; the caller holds the cluster's lock."""
    ctx = looking(services, cluster, options)
    workspace.sweep(ctx.directory / layout.RUNS)
    return replace(ctx, run_directory=services.state.new_run(cluster.name))


@contextlib.contextmanager
def working(
    services: Services, cluster: Cluster, options: RunOptions | None = None
) -> Iterator[Context]:
    """Hold the cluster's lock for a run that changes something.

    Raises:
        LockedError: another run works on this cluster.
    """
    with services.state.locked(cluster.name):
        yield opened(services, cluster, options)


def kubectl(ctx: Context, lock: ArtifactLock | None) -> str:
    """Return how to call kubectl here: its bare name when it is on PATH, else a copy of ours.

    Empty when neither is there (an artifact source that brought no binary for this host).
    """
    if process.which("kubectl"):
        return "kubectl"
    version = ctx.cluster.kubernetes_version
    target = ctx.services.paths.data / "bin" / f"kubectl-{version}"
    if target.exists():
        return str(target)
    return str(target) if _own_kubectl(ctx, lock, version, target) else ""


def _own_kubectl(ctx: Context, lock: ArtifactLock | None, version: str, target: Path) -> bool:
    """Copy kubectl out of the cache: as it was built, else from the nodes' package."""
    store = Store(ctx.services.paths.cache)
    here = architecture.host()
    ref = store.ref(Kind.BINARY, "kubectl", f"v{version}", here)
    if ref is None and (lock is None or here not in lock.architectures):
        return False
    files.ensure_directory(target.parent, 0o755)
    with contextlib.suppress(NotFoundError), files.replacing(target, 0o755) as stream:
        if ref is not None:
            with store.locate(ref.digest).open() as source:
                digest.copy(source, stream)
        elif lock is not None:
            package = lock.package(PackageRole.KUBEADM, here).digest
            tar_member.copy_to(store, package, _KUBECTL, stream)
        return True
    return False
