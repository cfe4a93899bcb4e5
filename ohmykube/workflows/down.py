"""``down``: remove exactly the machines whose marker names this cluster, and what we remember."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.config.load import from_document
from ohmykube.errors import ConfigError, IntegrityError, NotFoundError, OhmykubeError
from ohmykube.kit import entrypoints, parallel
from ohmykube.model.machine import MachineState
from ohmykube.progress import Message, NodeProgress, Status
from ohmykube.providers import registry
from ohmykube.state.store import NEWER
from ohmykube.steps import templates
from ohmykube.steps.connect_nodes import connect_nodes, disconnect
from ohmykube.steps.fetch_kubeconfig import users_copy
from ohmykube.steps.run_playbook import CLUSTER_RESET, run_playbook
from ohmykube.steps.write_inventory import write_inventory
from ohmykube.workflows import merged_kubeconfigs, session

if TYPE_CHECKING:
    from ohmykube.model.cluster import Cluster
    from ohmykube.providers.base import Provider
    from ohmykube.state.store import StateStore
    from ohmykube.steps.context import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class DownResult:
    """What ``down`` removed."""

    cluster: str
    removed: tuple[str, ...]
    """Node names."""
    existed: bool
    """False when there was neither a record nor a machine."""


def down(services: Services, name: str) -> DownResult:
    """Remove a cluster; can be repeated until nothing is left.

    A damaged record does not stop it: the machines carry markers, all providers are asked.

    Raises:
        IntegrityError: a newer release made the cluster.
    """
    store = services.state
    known = name in store.names()
    if not known and not _orphaned(services, name):
        return DownResult(cluster=name, removed=(), existed=False)
    with store.locked(name):
        removed: list[str] = []
        cluster, providers = _owners(services, store, name)
        for provider in providers:
            if cluster is not None and not provider.capabilities.creates:
                _reset_hosts(services, cluster)
            disconnect(store.directory(name))
            removed += _delete(services, provider, name)
            templates.sweep(services, provider)
        merged_kubeconfigs.clear(services, name)
        store.remove(name)
        if services.sudo_user is not None:
            services.sudo_user.remove(users_copy(services.sudo_user, name))
    return DownResult(cluster=name, removed=tuple(removed), existed=True)


def _owners(
    services: Services, store: StateStore, name: str
) -> tuple[Cluster | None, tuple[Provider, ...]]:
    try:
        record = store.read(name)
    except IntegrityError as error:
        if error.id == NEWER:
            raise
        text = (
            f"{error.message}; looking for its machines with every provider that makes some. "
            "Hosts of your own are not known without the record: run the playbook "
            "ohmykube.cluster.cluster_reset on them"
        )
        services.reporter.emit(Message(text=text, level="warning"))
        record = None
    if record is None:
        return None, tuple(_all_providers(services))
    try:
        cluster = from_document(record.document)
    except ConfigError as error:
        # What an older release accepted may be refused today; it must still be possible to remove.
        services.reporter.emit(Message(text=f"{error.message}; removing it", level="warning"))
        cluster = None
    return cluster, (session.provider_of(services, record.provider, cluster),)


def _all_providers(services: Services) -> list[Provider]:
    found = []
    for candidate in entrypoints.names(registry.GROUP):
        with contextlib.suppress(OhmykubeError):
            provider = session.provider_of(services, candidate, None)
            if provider.capabilities.creates:
                found.append(provider)
    return found


def _orphaned(services: Services, name: str) -> bool:
    return any(name in provider.clusters() for provider in _all_providers(services))


def _delete(services: Services, provider: Provider, name: str) -> list[str]:
    machines = provider.list(name)

    def delete(node: str) -> str:
        services.reporter.emit(NodeProgress(node=node, activity="removing"))
        provider.delete(name, node)
        services.reporter.emit(NodeProgress(node=node, activity="removed", status=Status.OK))
        return node

    return parallel.each([machine.node for machine in machines], delete)


def _reset_hosts(services: Services, cluster: Cluster) -> None:
    """Hosts that stay get their Kubernetes removed by the collection's own playbook."""
    try:
        ctx = session.opened(services, cluster)
        machines = {machine.node: machine for machine in ctx.provider.list(cluster.name)}
        if any(machine.state is MachineState.RUNNING for machine in machines.values()):
            nodes = connect_nodes(ctx, machines)
            run_playbook(ctx, CLUSTER_RESET, write_inventory(ctx, nodes))
    except NotFoundError:
        return
