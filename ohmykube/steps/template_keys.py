"""What identifies a template: a hash of everything that goes into it.

The build cluster is the same for everybody: of the cluster that is wanted it has the versions and
the artifacts, and nothing that is the cluster's own. Its variables are what the playbook is given,
so hashing them misses none.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.ansible import collection as sources
from ohmykube.ansible import variables
from ohmykube.kit.secret import Secret
from ohmykube.model.cluster import NO_CNI, KubeadmPatches, Network, Node, Role
from ohmykube.model.machine import Machine, MachineState
from ohmykube.model.names import HIDDEN
from ohmykube.providers.base import NewTemplate
from ohmykube.steps.tunnel import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.cluster import Cluster
    from ohmykube.providers.base import Templates

SCHEMA = 1
"""Raised when the way in which templates are built changes in what is hashed nowhere else."""
SOURCES = (
    "playbooks/node_template.yml",
    *(f"roles/{name}" for name in ("cache", "containerd", "kubeadm", "node")),
    *(f"plugins/{name}" for name in ("filter", "module_utils", "modules", "plugin_utils")),
)
"""Of the collection: what the playbook consists of."""
_OF_A_CLUSTER = ("cluster_name", "node_hosts")
"""Variables that nothing in a template depends on: a clone gets its own."""
NAMES = {Role.CONTROL_PLANE: "control-plane", Role.WORKER: "worker"}


def build_cluster(cluster: Cluster, name: str, roles: Iterable[Role]) -> Cluster:
    """Return the cluster on whose nodes templates are prepared: one node for each of ``roles``."""
    nodes = tuple(Node(name=NAMES[role], role=role) for role in Role if role in set(roles))
    # A template is of no cluster yet: of the network only the images matter, and the lock has them.
    return replace(
        cluster,
        name=name,
        nodes=nodes,
        network=Network(cni=NO_CNI),
        addons=(),
        kubeadm=KubeadmPatches(),
        trust=(),
        registries=(),
        proxy=None,
    )


def wanted(
    cluster: Cluster,
    lock: ArtifactLock,
    provider: Templates,
    node_traits: variables.NodeTraits,
    *,
    collection: Path | None = None,
) -> dict[Role, NewTemplate]:
    """Return the template that fits the nodes of each role of a cluster.

    Args:
        cluster: the wanted cluster.
        lock: its artifacts.
        provider: who would make the machines.
        node_traits: what is special about them.
        collection: root of the collection; ours by default.
    """
    (arch,) = lock.architectures  # machines that are cloned are made on one host
    roles = [role for role in Role if any(node.role is role for node in cluster.nodes)]
    building = build_cluster(cluster, HIDDEN, roles)
    access = variables.CacheAccess(endpoint=ENDPOINT, token=Secret(""))
    shared = variables.group_vars(building, lock, access, node_traits=node_traits)
    common = {
        "schema": SCHEMA,
        "basis": provider.template_basis(),
        "arch": arch,
        "sources": sources.digest(SOURCES, collection),
        "variables": {
            key: value
            for key, value in shared.items()
            if key not in _OF_A_CLUSTER and not isinstance(value, Secret)
        },
    }
    found = {}
    for node in building.nodes:
        machine = Machine(cluster=HIDDEN, node=node.name, state=MachineState.RUNNING, address="-")
        own = variables.host_vars(node, machine, None, lock, access)
        mine = {**common, "host": {k: v for k, v in own.items() if k not in _OF_A_CLUSTER}}
        text = json.dumps(mine, sort_keys=True)
        found[node.role] = NewTemplate(
            key=hashlib.sha256(text.encode()).hexdigest()[:16],
            role=node.role.value,
            summary=f"kubernetes {lock.kubernetes_version}",
        )
    return found
