"""``up``: from a description to a running cluster, or the little that is missing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ohmykube.kit import failures, parallel
from ohmykube.kube import kubeconfig
from ohmykube.planning import consent
from ohmykube.planning.scope import scope_of
from ohmykube.state import layout
from ohmykube.steps import node_digests
from ohmykube.steps.check_networks import check_networks
from ohmykube.steps.check_ports import check_ports
from ohmykube.steps.check_proxy import check_proxy
from ohmykube.steps.compare_with_routes import compare_with_routes
from ohmykube.steps.connect_nodes import connect_nodes
from ohmykube.steps.create_nodes import all_running, create_nodes, prepare_nodes
from ohmykube.steps.delete_nodes import delete_nodes, must_be_reset
from ohmykube.steps.hand_over import hand_over, hand_over_healthy
from ohmykube.steps.host_mounts import check_host_mounts
from ohmykube.steps.nodes import Nodes
from ohmykube.steps.offline import check_offline, prepare_offline
from ohmykube.steps.open_outside import open_outside, wanted_outside
from ohmykube.steps.plan import make_plan
from ohmykube.steps.preflight import preflight
from ohmykube.steps.proxy_urls import with_proxy
from ohmykube.steps.registry_logins import with_logins
from ohmykube.steps.resolve import resolved
from ohmykube.steps.restart_kubelets import restart_kubelets
from ohmykube.steps.run_playbook import CLUSTER_UP, run_playbook
from ohmykube.steps.serve import serve
from ohmykube.steps.templates import use_templates
from ohmykube.steps.uncordon_nodes import uncordon_nodes
from ohmykube.steps.wait_ready import lacking
from ohmykube.steps.write_inventory import write_inventory
from ohmykube.steps.write_record import record_end, record_start
from ohmykube.workflows import session
from ohmykube.workflows.status import described
from ohmykube.workflows.up_values import UpOptions, UpResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ohmykube.cache.serve import Server
    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.change import Plan
    from ohmykube.model.cluster import Cluster, Role
    from ohmykube.model.exposure import Exposed
    from ohmykube.model.outside import Outside
    from ohmykube.planning.observation import Observed
    from ohmykube.planning.scope import Scope
    from ohmykube.steps.context import Context, Services
    from ohmykube.workflows.status import NodeStatus

WAIT_SECONDS = 600.0
LOOK_AT_ALL: Mapping[str, object] = {"node_trust_record": False}
"""What the roles are told so that they install anew what a node has recorded as done."""


def up(services: Services, cluster: Cluster, options: UpOptions) -> UpResult:
    """Make the cluster as described; safe to repeat, ends what a killed run began.

    Raises:
        ConfigError: it exists and differs in what cannot be changed; nothing was touched.
        ConsentNeeded: something would be lost that nobody agreed to lose; nothing was touched.
    """
    started = services.clock.now()
    cluster = with_proxy(with_logins(cluster))
    if options.plan_only:
        plan = _only_plan(services, cluster, options)
        return _result(cluster, plan, services.clock.now() - started)
    with session.working(services, cluster, options) as ctx, _nothing_made_nothing_kept(ctx):
        opened = _check(ctx)
        observed, plan = make_plan(ctx)
        consent.check(cluster.name, plan, options.may_delete)
        must_be_reset(ctx, observed, plan, forget_unreachable=options.forget_unreachable)
        scope = None if options.verify else scope_of(plan, cluster)
        if scope != frozenset() or plan.resizes or plan.deletions:
            done = _bring_about(ctx, observed, plan, scope, options)
        else:
            done = _as_described(ctx, observed, plan, options)
        return UpResult(
            cluster=cluster.name,
            changed=done.changed,
            nodes=done.nodes,
            kubeconfig=done.kubeconfig,
            context=kubeconfig.context_name(cluster.name),
            seconds=services.clock.now() - started,
            plan=plan,
            kubectl=session.kubectl(ctx, done.lock),
            outside=opened,
            exposed=done.exposed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """A cluster that is as described."""

    changed: bool
    nodes: tuple[NodeStatus, ...]
    kubeconfig: Path
    """For the user."""
    exposed: Exposed
    """Where this host reaches its services."""
    lock: ArtifactLock | None = None
    """None where no artifact was needed."""


def _bring_about(
    ctx: Context, observed: Observed, plan: Plan, scope: Scope, options: UpOptions
) -> _Done:
    """Do what the plan says; the playbook is run on the nodes in scope."""
    with running_machines(ctx, observed, plan, scope) as made:
        tasks, left = 0, {}
        if made.server is not None:
            told = LOOK_AT_ALL if options.verify else None
            tasks = run_playbook(
                ctx, CLUSTER_UP, made.inventory, made.server, scope, variables=told
            )
        handed = hand_over(ctx, made.nodes, options.wait_seconds, usual=WAIT_SECONDS)
        taken_back = uncordon_nodes(ctx, observed, made.nodes)
        forget = options.forget_unreachable
        nodes = delete_nodes(ctx, plan, made.nodes, forget_unreachable=forget)
        if made.lock is not None:
            left = node_digests.left(ctx, nodes.machines, handed.answers, made.lock, scope)
        record_end(ctx, left, made.lock)
        return _Done(
            changed=made.changed or tasks > 0 or taken_back or bool(plan.deletions),
            nodes=described(ctx.cluster, nodes.machines, handed.answers),
            kubeconfig=handed.kubeconfig,
            exposed=handed.exposed,
            lock=made.lock,
        )


def _as_described(ctx: Context, observed: Observed, plan: Plan, options: UpOptions) -> _Done:
    """Look at the health of a cluster on whose nodes nothing is to be done.

    What the nodes have just said is not asked for again.
    """
    machines, config = observed.machines, ctx.directory / layout.SSH_CONFIG
    nodes = Nodes(machines=machines, ssh_config=config, slowdown=ctx.slowdown)
    open_outside(ctx)
    if plan.changes:
        # Nothing of the cluster, but it may be another way to the nodes.
        nodes = connect_nodes(ctx, machines)
    if lacking(ctx.cluster, observed.answers):
        handed = hand_over(ctx, nodes, options.wait_seconds, usual=WAIT_SECONDS)
    else:
        handed = hand_over_healthy(ctx, nodes, observed)
    if plan.changes:
        record_end(ctx, {})
    found = described(ctx.cluster, machines, handed.answers)
    return _Done(changed=False, nodes=found, kubeconfig=handed.kubeconfig, exposed=handed.exposed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Running machines, and all that the playbook needs."""

    lock: ArtifactLock | None
    """None where the playbook is not to be run."""
    nodes: Nodes
    inventory: Path
    server: Server | None
    """From which nodes get artifacts; None as above."""
    changed: bool
    """Whether a machine was made, started or resized."""


@contextlib.contextmanager
def running_machines(ctx: Context, observed: Observed, plan: Plan, scope: Scope) -> Iterator[Made]:
    """Bring about running machines and an inventory, and serve the cache while the block runs.

    Args:
        ctx: the cluster as it is wanted.
        observed: what is there.
        plan: what follows from that.
        scope: the nodes that the playbook is run on; when empty it is not run.
    """
    plays = scope != frozenset()
    if plays and (ctx.options.offline or ctx.options.bundles):
        prepare_offline(ctx)
    record_start(ctx, observed, plan)
    with contextlib.ExitStack() as held:
        lock: ArtifactLock | None = None
        templates: Mapping[Role, str] = {}
        if plays:
            found, _ = parallel.together(
                lambda: held.enter_context(resolved(ctx, scope)),
                lambda: prepare_nodes(ctx, observed, plan),
            )
            lock, templates = found, use_templates(ctx, found, observed.machines)
        machines = create_nodes(ctx, observed, plan, templates, None if plan.resizes else scope)
        nodes, _ = parallel.together(
            lambda: connect_nodes(ctx, machines, scope), lambda: open_outside(ctx)
        )
        restart_kubelets(ctx, observed, plan, nodes)
        served = held.enter_context(serve(ctx, nodes, lock, scope)) if lock else None
        yield Made(
            lock=lock,
            nodes=nodes,
            inventory=write_inventory(ctx, nodes, lock, served),
            server=served.server if served else None,
            changed=plan.resizes or not all_running(ctx, observed),
        )


def _check(ctx: Context) -> Outside | None:
    """Look whether this host can do what is described; return what is to be open of the outside."""
    preflight(ctx)
    check_networks(ctx)
    compare_with_routes(ctx)
    check_host_mounts(ctx)
    opened = wanted_outside(ctx)
    check_ports(ctx)
    check_proxy(ctx)
    return opened


def _only_plan(services: Services, cluster: Cluster, options: UpOptions) -> Plan:
    ctx = session.looking(services, cluster, options)
    _check(ctx)
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
