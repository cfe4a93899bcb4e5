"""Opening a cluster for a workflow: its lock, record, provider and a private run directory."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.ansible import workspace
from ohmykube.cache.bundle import tar_member
from ohmykube.cache.store import Store
from ohmykube.config.load import from_document
from ohmykube.errors import NotFoundError
from ohmykube.kit import architecture, digest, failures, files, process
from ohmykube.model.artifact import Kind, PackageRole
from ohmykube.planning.diff import ANY_PROVIDER
from ohmykube.providers import registry
from ohmykube.providers.base import ProviderContext
from ohmykube.state import layout
from ohmykube.steps.base import Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ohmykube.model.cluster import Cluster
    from ohmykube.providers.base import Provider
    from ohmykube.state.record import Record
    from ohmykube.steps.base import Services

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
        known = ", ".join(store.names()) or "none"
        raise NotFoundError(
            f'no cluster "{name}"', why=f"clusters here: {known}", hint="ohmykube list"
        )
    return record, from_document(record.document)


@contextlib.contextmanager
def planning(services: Services, cluster: Cluster) -> Iterator[Run]:
    """Open for reading: no lock, nothing is created."""
    store = services.state
    record = store.read(cluster.name)
    recorded = None
    described = cluster
    if record is not None:
        recorded = replace(from_document(record.document), provider=record.provider)
        if cluster.provider not in (ANY_PROVIDER, record.provider):
            described = recorded  # the options are another provider's, and the change is refused
    name = record.provider if record else cluster.provider
    provider = provider_of(services, name, described)
    directory = store.directory(cluster.name)
    yield Run(
        services=services,
        cluster=cluster,
        provider=provider,
        directory=directory,
        run_directory=directory,
        record=record,
        recorded=recorded,
        kubeconfig=directory / layout.KUBECONFIG,
    )


@contextlib.contextmanager
def opened(services: Services, cluster: Cluster) -> Iterator[Run]:
    """Open with a fresh run directory; the caller holds the lock. Closes what the run opened."""
    with planning(services, cluster) as run:
        workspace.sweep(run.directory / layout.RUNS)
        run.run_directory = services.state.new_run(cluster.name)
        with failures.closing(run.cleanup.close):
            yield run


@contextlib.contextmanager
def working(services: Services, cluster: Cluster) -> Iterator[Run]:
    """Open for change: under the cluster's lock, with a fresh run directory; closes what it opened.

    Raises:
        LockedError: another run works on this cluster.
    """
    store = services.state
    with store.locked(cluster.name), opened(services, cluster) as run:
        yield run


def kubectl(run: Run) -> str:
    """Return how to call kubectl here: its bare name when it is on PATH, else a copy of ours.

    Empty when neither is there (an artifact source that brought no binary for this host).
    """
    if process.which("kubectl"):
        return "kubectl"
    version = run.cluster.kubernetes_version
    target = run.services.paths.data / "bin" / f"kubectl-{version}"
    if target.exists():
        return str(target)
    return str(target) if _own_kubectl(run, version, target) else ""


def _own_kubectl(run: Run, version: str, target: Path) -> bool:
    """Copy kubectl out of the cache: as it was built, else from the nodes' package."""
    store = Store(run.services.paths.cache)
    ref = store.ref(Kind.BINARY, "kubectl", f"v{version}", architecture.architecture())
    if ref is None and (run.lock is None or run.lock.arch != architecture.architecture()):
        return False
    files.ensure_directory(target.parent, 0o755)
    with contextlib.suppress(NotFoundError), files.replacing(target, 0o755) as stream:
        if ref is not None:
            with store.locate(ref.digest).open() as source:
                digest.copy(source, stream)
        elif run.lock is not None:
            package = run.lock.package(PackageRole.KUBEADM).digest
            tar_member.take(store, package, _KUBECTL, stream)
        return True
    return False
