"""``down``: remove exactly the machines whose marker names this cluster, and what we remember."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.ansible import workspace
from ohmykube.config.load import from_document
from ohmykube.errors import ConfigError, IntegrityError, OhmykubeError
from ohmykube.kit import entrypoints, parallel
from ohmykube.model import versions
from ohmykube.model.cluster import Cluster, Node, Role
from ohmykube.progress import Message, NodeProgress, Status
from ohmykube.providers import registry
from ohmykube.state import layout
from ohmykube.state.store import NEWER
from ohmykube.steps import template_removal
from ohmykube.steps.connect_nodes import disconnect
from ohmykube.steps.context import Context
from ohmykube.steps.fetch_kubeconfig import users_copy
from ohmykube.steps.release_hosts import raise_for_kept, release_hosts
from ohmykube.workflows import merged_kubeconfigs, session

if TYPE_CHECKING:
    from ohmykube.providers.base import Provider
    from ohmykube.state.store import StateStore
    from ohmykube.steps.context import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class DownResult:
    """What ``down`` removed."""

    cluster: str
    """Empty when none was named and there was none."""
    removed: tuple[str, ...]
    """Node names."""
    existed: bool
    """False when there was neither a record nor a machine."""
    forgotten: tuple[str, ...] = ()
    """Nodes whose hosts could not be reached: they left the cluster with all that is on them."""


def down(services: Services, name: str, *, forget_unreachable: bool = False) -> DownResult:
    """Remove a cluster; can be repeated until nothing is left.

    A damaged record does not stop it: the machines carry markers, all providers are asked.

    Args:
        services: of the command.
        name: of the cluster.
        forget_unreachable: let go of hosts that cannot be reset because they cannot be reached.

    Raises:
        IntegrityError: a newer release made the cluster.
        UnreachableError, NodeError: hosts could not be reset; all others were, and are released.
    """
    store = services.state
    if not exists(services, name):
        return DownResult(cluster=name, removed=(), existed=False)
    with store.locked(name):
        removed: list[str] = []
        forgotten: list[str] = []
        cluster, providers = _owners(services, store, name)
        for provider in providers:
            disconnect(store.directory(name))
            if provider.capabilities.creates:
                removed += _delete(services, provider, name)
                template_removal.sweep(services, provider)
            else:
                ctx = _context(services, provider, cluster, name)
                released = release_hosts(ctx, forget_unreachable=forget_unreachable)
                raise_for_kept(name, released)
                removed += released.reset
                forgotten += released.forgotten
        merged_kubeconfigs.clear(services, name)
        store.remove(name)
        if services.sudo_user is not None:
            services.sudo_user.remove(users_copy(services.sudo_user, name))
    return DownResult(
        cluster=name, removed=tuple(removed), existed=True, forgotten=tuple(forgotten)
    )


def exists(services: Services, name: str) -> bool:
    """Tell whether a cluster has a record, or a machine that bears its mark."""
    return name in services.state.names() or _orphaned(services, name)


def _owners(
    services: Services, store: StateStore, name: str
) -> tuple[Cluster | None, tuple[Provider, ...]]:
    try:
        record = store.read(name)
    except IntegrityError as error:
        if error.id == NEWER:
            raise
        text = f"{error.message}; looking for its machines with every provider"
        services.reporter.emit(Message(text=text, level="warning"))
        record = None
    if record is None:
        return None, tuple(_all_providers(services, name))
    try:
        cluster = from_document(record.document)
    except ConfigError as error:
        # What an older release accepted may be refused today; it must still be possible to remove.
        services.reporter.emit(Message(text=f"{error.message}; removing it", level="warning"))
        cluster = None
    return cluster, (session.provider_of(services, record.provider, cluster),)


def _all_providers(services: Services, name: str) -> list[Provider]:
    """Return the providers that may have machines of a cluster."""
    found = []
    for candidate in entrypoints.names(registry.GROUP):
        with contextlib.suppress(OhmykubeError):
            provider = session.provider_of(services, candidate, None)
            if provider.capabilities.creates or name in provider.clusters():
                found.append(provider)
    return found


def _orphaned(services: Services, name: str) -> bool:
    return any(name in provider.clusters() for provider in _all_providers(services, name))


def _delete(services: Services, provider: Provider, name: str) -> list[str]:
    machines = provider.list(name)

    def delete(node: str) -> str:
        services.reporter.emit(NodeProgress(node=node, activity="removing"))
        provider.delete(name, node)
        services.reporter.emit(NodeProgress(node=node, activity="removed", status=Status.OK))
        return node

    return parallel.each([machine.node for machine in machines], delete)


def _context(services: Services, provider: Provider, cluster: Cluster | None, name: str) -> Context:
    """Return the context of a run on hosts that stay; what describes them may be lost."""
    store = services.state
    workspace.sweep(store.directory(name) / layout.RUNS)
    if cluster is None:
        nodes = tuple(
            Node(name=machine.node, role=Role.CONTROL_PLANE) for machine in provider.list(name)
        )
        cluster = Cluster(
            name=name,
            kubernetes_version=versions.DEFAULT,
            provider=provider.name,
            nodes=nodes,
        )
    return Context(
        services=services,
        cluster=cluster,
        provider=provider,
        directory=store.directory(name),
        run_directory=store.new_run(name),
    )
