"""Look at what there is of a cluster; changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ohmykube.errors import NodeError
from ohmykube.kit import parallel
from ohmykube.model.machine import MachineState
from ohmykube.planning.observation import Observed
from ohmykube.state import layout
from ohmykube.steps.node_shell import NodeShell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ohmykube.model.cluster import Cluster
    from ohmykube.model.machine import Machine
    from ohmykube.steps.context import Context

CONFIGURED = "configured"
"""The milestone of the record that ends a whole ctx."""

_BEGUN, _JOINED = "begun", "joined"
# What the modules for kubeadm keep on a node. A kubeadm whose caller was killed may have finished.
ASK = """\
record=/var/lib/ohmykube/kubeadm.json
[ -e "$record" ] || exit 0
echo begun
grep -qs '"finished": true' "$record" ||
    grep -qsE 'control-plane has initialized successfully|This node has joined the cluster' \
        /var/log/ohmykube/kubeadm-init.log /var/log/ohmykube/kubeadm-join.log || exit 0
echo joined
"""


def observe(ctx: Context) -> Observed:
    """Return what is there. Nodes are asked only when the last run did not end.

    Raises:
        ProviderError, UnreachableError: the machines cannot be listed.
    """
    provider = ctx.provider
    if ctx.recorded is not None:
        known = _known_by(ctx.cluster, ctx.recorded)
        if known != ctx.cluster:
            provider = type(provider)(replace(provider.context, cluster=known))
    machines = {machine.node: machine for machine in provider.list(ctx.cluster.name)}
    unfinished = ctx.record is None or ctx.record.done[-1:] != (CONFIGURED,)
    if not unfinished and ctx.recorded is not None:
        begun = joined = frozenset(n.name for n in ctx.recorded.nodes if n.name in machines)
    else:
        told = _asked(ctx, machines)
        begun = frozenset(node for node, words in told.items() if _BEGUN in words)
        joined = frozenset(node for node, words in told.items() if _JOINED in words)
    return Observed(
        machines=machines,
        begun=begun,
        joined=joined,
        unfinished=unfinished,
        resizing=provider.capabilities.resizing,
    )


def _known_by(desired: Cluster, recorded: Cluster) -> Cluster:
    """Return the description by which the nodes that exist are found: at the hosts they were on."""
    hosts = {node.name: node.host for node in recorded.nodes if node.host is not None}
    nodes = []
    for node in desired.nodes:
        before = hosts.get(node.name)
        moved = before and node.host and before.address != node.host.address
        nodes.append(replace(node, host=before) if moved else node)
    return replace(desired, nodes=tuple(nodes))


def _asked(ctx: Context, machines: Mapping[str, Machine]) -> dict[str, str]:
    """Return what each node says; one that does not answer counts as one that has joined."""
    path = ctx.directory / layout.SSH_CONFIG
    if not path.exists():
        return {}  # no node was ever reached
    hosts = {line.removeprefix("Host ") for line in path.read_text().splitlines()}
    reached = [machine for machine in machines.values() if machine.node in hosts]

    def ask(machine: Machine) -> str:
        if machine.state is not MachineState.RUNNING:
            return f"{_BEGUN} {_JOINED}"
        become = machine.ssh is not None and machine.ssh.become
        shell = NodeShell(path, machine.node, become=become, slowdown=ctx.slowdown)
        try:
            return shell(["sh", "-c", ASK])
        except NodeError:
            return f"{_BEGUN} {_JOINED}"

    answers = parallel.each(reached, ask)
    return {machine.node: answer for machine, answer in zip(reached, answers, strict=True)}
