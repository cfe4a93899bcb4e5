"""Run one of the collection's playbooks over the nodes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ohmykube.ansible import launch
from ohmykube.ansible.outcome import PlaybookStatus
from ohmykube.kit import amounts, files
from ohmykube.state import layout
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ohmykube.cache.serve import Server
    from ohmykube.planning.scope import Scope
    from ohmykube.steps.context import Context

CLUSTER_UP = "ohmykube.cluster.cluster_up"
NODE_REMOVE = "ohmykube.cluster.node_remove"
CLUSTER_RESET = "ohmykube.cluster.cluster_reset"
NODE_TEMPLATE = "ohmykube.cluster.node_template"
# Whoever calls a command that removes machines has been asked already.
CONFIRMED: Mapping[str, Mapping[str, object]] = {
    CLUSTER_RESET: {"cluster_reset_confirmed": True},
}
TITLES = {
    CLUSTER_UP: "Configure the nodes",
    NODE_REMOVE: "Take nodes out of the cluster",
    CLUSTER_RESET: "Reset the hosts",
    NODE_TEMPLATE: "Prepare the templates",
}
DONE = {
    CLUSTER_UP: "configured",
    NODE_REMOVE: "taken out of the cluster",
    CLUSTER_RESET: "reset",
    NODE_TEMPLATE: "prepared",
}
"""What has become of a node then."""


def run_playbook(
    ctx: Context,
    playbook: str,
    inventory: Path,
    server: Server | None = None,
    scope: Scope = None,
    *,
    variables: Mapping[str, object] | None = None,
) -> int:
    """Run a playbook; return how many tasks have changed something.

    The outcome is judged by what happened on the nodes.

    Args:
        ctx: whose cluster.
        playbook: one of ``TITLES``.
        inventory: the file that ``write_inventory`` wrote.
        server: from which nodes get artifacts; None when they get none.
        scope: the nodes in the play. The others are in the inventory, and tasks may be delegated
            to them.
        variables: what the playbook is told beside the inventory; plain data from ourselves.

    Raises:
        UnreachableError, NodeError: names node, task and reason.
        IntegrityError: the reason is a damaged artifact in the cache on this host.
    """
    with _step(playbook).running(ctx.services) as result:
        outcome = launch.run(
            _asked(ctx, playbook, inventory, scope, variables), ctx.services.reporter
        )
        damaged = server.damaged if server is not None else None
        if damaged is not None and outcome.status is not PlaybookStatus.OK:
            raise damaged
        launch.raise_for_failure(outcome)
        changed = sum(stats.changed for stats in outcome.stats.values())
        result.detail = detail_of(changed)
    return changed


def detail_of(changed: int) -> str:
    """Return for people how many tasks have changed something, on all nodes together."""
    return f"{amounts.count(changed, 'task')} changed" if changed else "nothing changed"


def reset_hosts(ctx: Context, inventory: Path, names: Sequence[str]) -> dict[str, str]:
    """Take Kubernetes off hosts, off each as far as it goes; return why it stayed, by name of host.

    Args:
        ctx: whose cluster.
        inventory: has the hosts.
        names: of the hosts.

    Raises:
        NodeError: the playbook itself is broken, or touched no host.
    """
    with _step(CLUSTER_RESET).running(ctx.services) as result:
        asked = _asked(ctx, CLUSTER_RESET, inventory, frozenset(names), None)
        outcome = launch.run(asked, ctx.services.reporter)
        failed = {one.host: f"{one.title}: {one.message}" for one in outcome.failures}
        if outcome.status is not PlaybookStatus.OK and not failed:
            launch.raise_for_failure(outcome)
        for name in names:
            if name not in outcome.stats:
                failed.setdefault(name, "the playbook did not come to it")
        result.detail = f"{len(names) - len(failed)} of {amounts.count(len(names), 'host')}"
    return failed


def _step(playbook: str) -> Step:
    return Step(playbook.rpartition(".")[2].replace("_", "-"), TITLES[playbook])


def _asked(
    ctx: Context,
    playbook: str,
    inventory: Path,
    scope: Scope,
    variables: Mapping[str, object] | None,
) -> launch.PlaybookRun:
    return launch.PlaybookRun(
        playbook=playbook,
        inventory=inventory,
        run_dir=ctx.run_directory / "ansible",
        fact_cache=ctx.directory / layout.FACTS,
        forks=max(10, len(ctx.cluster.nodes)),
        vars_files=_written(ctx, {**CONFIRMED.get(playbook, {}), **(variables or {})}),
        done=DONE[playbook],
        limit=() if scope is None else tuple(sorted(scope)),
        verbosity=ctx.services.verbosity,
        log_file=ctx.run_directory / layout.ANSIBLE_LOG,
        lock_file=ctx.directory / layout.PLAYBOOK_LOCK,
    )


def _written(ctx: Context, variables: Mapping[str, object]) -> tuple[Path, ...]:
    if not variables:
        return ()
    path = ctx.run_directory / "variables.json"
    files.write(path, json.dumps(variables))
    return (path,)
