"""``up``: from a description to a running cluster, or the little that is missing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ohmykube.kit import failures
from ohmykube.kube import kubeconfig
from ohmykube.steps import engine
from ohmykube.steps.connect import Connect
from ohmykube.steps.create_nodes import CreateNodes, PrepareNodes
from ohmykube.steps.fetch_kubeconfig import FetchKubeconfig
from ohmykube.steps.inventory import Inventory
from ohmykube.steps.observe import CONFIGURED
from ohmykube.steps.offline import Offline
from ohmykube.steps.plan import Plan
from ohmykube.steps.playbook import Playbook
from ohmykube.steps.preflight import Preflight
from ohmykube.steps.publish import Publish
from ohmykube.steps.record import Remember
from ohmykube.steps.resolve import Resolve
from ohmykube.steps.serve import Serve
from ohmykube.steps.templates import UseTemplates
from ohmykube.steps.wait_ready import WaitReady
from ohmykube.workflows import session
from ohmykube.workflows.status import look
from ohmykube.workflows.up_values import UpOptions, UpResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ohmykube.model import change
    from ohmykube.model.cluster import Cluster
    from ohmykube.steps.base import Run, Services, Step

WAIT_SECONDS = 600.0

_LOOK: tuple[Step, ...] = (Preflight(), Plan())
_MAKE: tuple[Step | tuple[Step, ...], ...] = (
    Remember("started"),
    (Resolve(), PrepareNodes()),
    UseTemplates(),
    CreateNodes(),
    Connect(),
    Serve(),
    Inventory(),
)
TO_THE_INVENTORY = (*_LOOK, *_MAKE)
"""From a description to running machines and an inventory that Ansible can use."""


def up(services: Services, cluster: Cluster, options: UpOptions) -> UpResult:
    """Make the cluster as described; safe to repeat, ends what a killed run began.

    Raises:
        ConfigError: it exists and differs in what cannot be changed; nothing was touched.
    """
    started = services.clock.now()
    aside = options.offline or bool(options.bundles)
    if options.plan_only:
        with session.planning(services, cluster) as run:
            _set(run, options)
            look_too = (Offline(only_look=True),) if aside else ()
            engine.execute((Preflight(), Plan(only_look=True), *look_too), run)
            seconds = services.clock.now() - started
            return _result(run.plan, cluster, seconds)
    with session.working(services, cluster) as run, _nothing_made_nothing_kept(run):
        _set(run, options)
        engine.execute(
            (
                *_LOOK,
                *((Offline(),) if aside else ()),
                *_MAKE,
                Playbook("ohmykube.cluster.cluster_up", "Configure the nodes"),
                *hand_over(options),
            ),
            run,
        )
        return UpResult(
            cluster=cluster.name,
            changed=run.changed,
            nodes=look(run),
            kubeconfig=run.kubeconfig,
            context=kubeconfig.context_name(cluster.name),
            seconds=services.clock.now() - started,
            plan=run.plan,
            kubectl=session.kubectl(run),
        )


def _set(run: Run, options: UpOptions) -> None:
    run.offline, run.bundles = options.offline, options.bundles
    run.allowed_signers = options.allowed_signers


def hand_over(options: UpOptions) -> tuple[Step, ...]:
    """Return what follows the playbook."""
    return (
        FetchKubeconfig(),
        WaitReady(options.wait_seconds, WAIT_SECONDS),
        Publish(),
        Remember(CONFIGURED),
    )


@contextlib.contextmanager
def _nothing_made_nothing_kept(run: Run) -> Iterator[None]:
    """Let a run that fails before it has made anything leave no cluster behind."""
    new, name = run.record is None, run.cluster.name

    def forget() -> None:
        if new and name not in run.provider.clusters():
            run.services.state.remove(name)

    with failures.undoing(forget):
        yield


def _result(plan: change.Plan, cluster: Cluster, seconds: float) -> UpResult:
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
