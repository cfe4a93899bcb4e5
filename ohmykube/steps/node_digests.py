"""What each node of a cluster would be configured from: all that Ansible would be given for it.

What is a run's own or the connection's is left out: how ssh reaches a node or this host the API
server, in which form an image travels, what the node has to lose since the run before.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.addons import selection
from ohmykube.ansible import collection as sources
from ohmykube.ansible import inventory, variables
from ohmykube.cache import resolve
from ohmykube.cache.bundle.preview import StoreWithBundles
from ohmykube.model.machine import Machine, MachineState
from ohmykube.model.node_state import NodeDigests
from ohmykube.planning.scope import nodes_in
from ohmykube.steps.serve import token_of
from ohmykube.steps.tunnel import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.ansible.variables import Vars
    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.node_state import NodeState
    from ohmykube.planning.observation import Observed
    from ohmykube.planning.scope import Scope
    from ohmykube.steps.context import Context

SOURCES = (
    "playbooks/cluster_up.yml",
    "roles",
    *(f"plugins/{name}" for name in ("filter", "module_utils", "modules", "plugin_utils")),
)
"""Of the collection: what the playbook that configures nodes consists of."""
_CONNECTION = "ansible_"
_ARTIFACTS = ("_artifacts", "_image", "_images", "_tag")
"""Ends of the names of variables that come from the lock."""


def configured(ctx: Context) -> dict[str, NodeDigests]:
    """Return what the last whole run configured each node from, by name."""
    known = ctx.record.nodes if ctx.record is not None else {}
    return {name: NodeDigests(**digests) for name, digests in known.items()}


def expected(ctx: Context, observed: Observed) -> dict[str, NodeDigests] | None:
    """Return what each node would be configured from; None when not all artifacts are here.

    Only looks; bundles that the run may use count as here.
    """
    options = ctx.options
    store = StoreWithBundles(ctx.services.paths.cache, options.bundles, options.allowed_signers)
    told = sorted({machine.arch for machine in observed.machines.values() if machine.arch})
    release = selection.release_of(ctx.cluster)
    lock = resolve.known(ctx.cluster, release, store, architectures=told)
    return None if lock is None else wanted(ctx, lock, observed.machines)


def left(
    ctx: Context,
    machines: Mapping[str, Machine],
    answers: Mapping[str, NodeState],
    lock: ArtifactLock,
    scope: Scope,
) -> dict[str, NodeDigests]:
    """Return what the nodes in scope were configured from, when the playbook has ended there.

    A node that did not say what it has recorded is left out: the next run looks at it again.

    Args:
        ctx: the cluster as it was configured.
        machines: by node name.
        answers: what nodes have said since.
        lock: the artifacts.
        scope: the nodes that the playbook was run on.
    """
    digests = wanted(ctx, lock, machines)
    records = {
        n.name: answers[n.name].record for n in nodes_in(ctx.cluster, scope) if n.name in answers
    }
    return {
        name: replace(digests[name], record=record) for name, record in records.items() if record
    }


def wanted(
    ctx: Context,
    lock: ArtifactLock,
    machines: Mapping[str, Machine],
    *,
    collection: Path | None = None,
) -> dict[str, NodeDigests]:
    """Return what each node of the cluster is to be configured from, by name.

    Args:
        ctx: the cluster as it is wanted.
        lock: its artifacts.
        machines: by node name; one that has no address yet, or does not tell its architecture,
            counts as any: nothing of it is compared.
        collection: its root; ours by default.
    """
    hosts, shared = inventory.compose(
        cluster=ctx.cluster,
        lock=lock,
        machines={
            node.name: _as_if_there(ctx, node.name, machines, lock) for node in ctx.cluster.nodes
        },
        access=variables.CacheAccess(endpoint=ENDPOINT, token=token_of(ctx.directory)),
        ssh_config=None,
        node_traits=ctx.node_traits,
    )
    addons = selection.applied(ctx.cluster)
    shared |= variables.addon_vars(addons)
    release = sources.digest(SOURCES, collection)
    foreign = {one.role: _digest_of_role(Path(one.role)) for one in addons if "/" in one.role}
    taints = {node.name: sorted(map(str, node.effective_taints)) for node in ctx.cluster.nodes}
    found = {}
    for host in hosts:
        given = {**shared, **host.variables, "group": host.group, "roles": foreign}
        given["kubeadm_node_taints"] = taints[host.name]
        given.pop(variables.CONTENTS, None)  # of all nodes; each has the sums of its own
        given["kubeadm_cert_sans"] = sorted(ctx.cluster.network.cert_sans)
        values = {
            name: inventory.revealed(value)
            for name, value in given.items()
            if not name.startswith(_CONNECTION)
        }
        locked = {name: value for name, value in values.items() if name.endswith(_ARTIFACTS)}
        rest = {name: value for name, value in values.items() if name not in locked}
        found[host.name] = NodeDigests(
            release=release, artifacts=_digest(locked), values=_digest(rest)
        )
    return found


def _as_if_there(
    ctx: Context, node: str, machines: Mapping[str, Machine], lock: ArtifactLock
) -> Machine:
    machine = machines.get(node)
    if machine is None or not machine.address:
        cluster = ctx.cluster.name
        machine = Machine(cluster=cluster, node=node, state=MachineState.BROKEN, address="-")
    return machine if machine.arch else replace(machine, arch=lock.architectures[0])


def _digest_of_role(path: Path) -> str:
    """Return a digest of a role that is not the collection's; its package may be of any version."""
    return sources.digest([path.name], path.parent)


def _digest(values: Vars) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
