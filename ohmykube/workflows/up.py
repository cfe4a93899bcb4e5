"""``up``: from a description to a running cluster, or the little that is missing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.kit import failures, parallel
from ohmykube.kube import kubeconfig
from ohmykube.planning.scope import scope_of
from ohmykube.steps.cluster_api import cluster_api
from ohmykube.steps.connect_nodes import connect_nodes
from ohmykube.steps.create_nodes import all_running, create_nodes, prepare_nodes
from ohmykube.steps.expose_services import expose_services
from ohmykube.steps.fetch_kubeconfig import fetch_kubeconfig
from ohmykube.steps.offline import check_offline, prepare_offline
from ohmykube.steps.plan import make_plan
from ohmykube.steps.preflight import preflight
from ohmykube.steps.resolve import resolved
from ohmykube.steps.run_playbook import CLUSTER_UP, run_playbook
from ohmykube.steps.serve import serve
from ohmykube.steps.templates import use_templates
from ohmykube.steps.wait_ready import wait_ready
from ohmykube.steps.write_inventory import write_inventory
from ohmykube.steps.write_record import record_end, record_start
from ohmykube.workflows import session
from ohmykube.workflows.status import look
from ohmykube.workflows.up_values import UpOptions, UpResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ohmykube.cache.serve import Server
    from ohmykube.kube.api import ClusterApi
    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.change import Plan
    from ohmykube.model.cluster import Cluster
    from ohmykube.planning.scope import Scope
    from ohmykube.steps.context import Context, Services
    from ohmykube.steps.nodes import Nodes

WAIT_SECONDS = 600.0


def up(services: Services, cluster: Cluster, options: UpOptions) -> UpResult:
    """Make the cluster as described; safe to repeat, ends what a killed run began.

    Raises:
        ConfigError: it exists and differs in what cannot be changed; nothing was touched.
    """
    started = services.clock.now()
    if options.plan_only:
        plan = _only_plan(services, cluster, options)
        return _result(cluster, plan, services.clock.now() - started)
    with (
        session.working(services, cluster, options) as ctx,
        _nothing_made_nothing_kept(ctx),
        running_machines(ctx) as made,
    ):
        tasks = run_playbook(ctx, CLUSTER_UP, made.inventory, made.server, made.scope)
        api = cluster_api(cluster, made.nodes)
        path = hand_over(ctx, made.nodes, api, options)
        record_end(ctx, made.plan, made.lock)
        return UpResult(
            cluster=cluster.name,
            changed=made.changed or tasks > 0,
            nodes=look(cluster, made.nodes.machines, api),
            kubeconfig=path,
            context=kubeconfig.context_name(cluster.name),
            seconds=services.clock.now() - started,
            plan=made.plan,
            kubectl=session.kubectl(ctx, made.lock),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Running machines, and all that the playbook needs."""

    plan: Plan
    scope: Scope
    """The nodes that have to be configured."""
    lock: ArtifactLock
    nodes: Nodes
    inventory: Path
    server: Server
    """From which nodes get artifacts."""
    changed: bool
    """Whether a machine was made, started or resized."""


@contextlib.contextmanager
def running_machines(ctx: Context) -> Iterator[Made]:
    """Bring about running machines and an inventory, and serve the cache while the block runs."""
    preflight(ctx)
    observed, plan = make_plan(ctx)
    if ctx.options.offline or ctx.options.bundles:
        prepare_offline(ctx)
    scope = scope_of(plan, ctx.cluster)
    record_start(ctx, observed, plan)
    with contextlib.ExitStack() as held:
        lock, _ = parallel.together(
            lambda: held.enter_context(resolved(ctx, scope)),
            lambda: prepare_nodes(ctx, observed, plan),
        )
        templates = use_templates(ctx, lock, observed.machines)
        machines = create_nodes(ctx, observed, plan, templates, scope)
        nodes = connect_nodes(ctx, machines, scope)
        served = held.enter_context(serve(ctx, nodes, lock, scope))
        yield Made(
            plan=plan,
            scope=scope,
            lock=lock,
            nodes=nodes,
            inventory=write_inventory(ctx, nodes, lock, served),
            server=served.server,
            changed=plan.resizes or not all_running(ctx, observed),
        )


def hand_over(ctx: Context, nodes: Nodes, api: ClusterApi, options: UpOptions) -> Path:
    """Do what follows the playbook; return the path of the user's kubeconfig."""
    path = fetch_kubeconfig(ctx, nodes, api)
    wait_ready(ctx, api, options.wait_seconds, usual=WAIT_SECONDS)
    expose_services(ctx, api)
    return path


def _only_plan(services: Services, cluster: Cluster, options: UpOptions) -> Plan:
    ctx = session.looking(services, cluster, options)
    preflight(ctx)
    _, plan = make_plan(ctx, only_look=True)
    if options.offline or options.bundles:
        check_offline(ctx)
    return plan


@contextlib.contextmanager
def _nothing_made_nothing_kept(ctx: Context) -> Iterator[None]:
    """Let a run that fails before it has made anything leave no cluster behind."""
    new, name = ctx.record is None, ctx.cluster.name

    def forget() -> None:
        if new and name not in ctx.provider.clusters():
            ctx.services.state.remove(name)

    with failures.undoing(forget):
        yield


def _result(cluster: Cluster, plan: Plan, seconds: float) -> UpResult:
    return UpResult(
        cluster=cluster.name,
        changed=False,
        nodes=(),
        kubeconfig=None,
        context=kubeconfig.context_name(cluster.name),
        seconds=seconds,
        plan=plan,
        kubectl="kubectl",
    )
