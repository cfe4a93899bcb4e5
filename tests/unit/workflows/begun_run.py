"""What `up` does as far as that needs no node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.addons import selection
from ohmykube.cache import resolve
from ohmykube.cache.store import Store
from ohmykube.kit import files
from ohmykube.kit.secret import Secret
from ohmykube.model.cluster import Role
from ohmykube.model.node_state import ApiNode, NodeState
from ohmykube.state import layout
from ohmykube.steps import node_digests
from ohmykube.steps.create_nodes import create_nodes
from ohmykube.steps.nodes import Nodes
from ohmykube.steps.observe import ask
from ohmykube.steps.plan import make_plan
from ohmykube.steps.preflight import preflight
from ohmykube.steps.write_record import record_end, record_start
from tests import node_answers

if TYPE_CHECKING:
    from ohmykube.model.machine import Machine
    from ohmykube.steps.context import Context

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: kubernetes, cluster: {server: "https://192.0.2.11:6443"}}]
users: [{name: kubernetes-admin, user: {}}]
contexts:
  [{name: kubernetes-admin@kubernetes, context: {cluster: kubernetes, user: kubernetes-admin}}]
current-context: kubernetes-admin@kubernetes
"""


def begin(ctx: Context) -> dict[str, Machine]:
    """Make the machines and the record, as a run that is killed afterwards."""
    preflight(ctx)
    observed, plan = make_plan(ctx)
    record_start(ctx, observed, plan)
    return create_nodes(ctx, observed, plan, {})


def end(ctx: Context) -> None:
    """Complete a run that has begun, as a whole one; each node says from now on what it is like."""
    machines = {machine.node: machine for machine in ctx.provider.list(ctx.cluster.name)}
    path = ctx.directory / layout.SSH_CONFIG
    files.write(path, "".join(f"Host {node}\n" for node in machines))
    nodes = tuple(ApiNode(name=name) for name in machines)
    for node in ctx.cluster.nodes:
        plane = node.role is Role.CONTROL_PLANE
        state = NodeState(
            record=f"of {node.name}",
            begun=True,
            joined=True,
            nodes=nodes if plane else None,
            dns_answers=True,
            admin=Secret(KUBECONFIG if plane else ""),
        )
        node_answers.say(ctx.directory, node.name, state)
    release = selection.release_of(ctx.cluster)
    lock = resolve.known(ctx.cluster, release, Store(ctx.services.paths.cache))
    if lock is None:
        record_end(ctx, {})
        return
    answers, _ = ask(ctx, Nodes(machines=machines, ssh_config=path), machines)
    record_end(ctx, node_digests.left(ctx, machines, answers, lock, None), lock)
