"""Render the inventory of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.addons import selection
from ohmykube.ansible import inventory, variables
from ohmykube.ansible.inventory import machine_of
from ohmykube.cache import repack
from ohmykube.cache.store import Store
from ohmykube.kit import amounts
from ohmykube.model.addon import AppliedAddon
from ohmykube.state import file_contents
from ohmykube.steps.fetch_kubeconfig import API_PORT
from ohmykube.steps.step import Step
from ohmykube.steps.tunnel import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.state.record import Record
    from ohmykube.steps.context import Context
    from ohmykube.steps.nodes import Nodes
    from ohmykube.steps.serve import Served

WRITE_INVENTORY = Step("write-inventory", "Write the inventory")


def write_inventory(
    ctx: Context,
    nodes: Nodes,
    lock: ArtifactLock | None = None,
    served: Served | None = None,
) -> Path:
    """Write ``inventory/`` into the run directory; return the path to pass as ``-i``.

    Values are serialised, strings from outside are data, never templates.

    Args:
        ctx: whose cluster.
        nodes: one for each node of the cluster.
        lock: the resolved artifacts, or None for the roles' defaults.
        served: the cache as nodes reach it; None when they get nothing from it.

    Raises:
        As ``inventory.compose`` and ``inventory.write``.
    """
    with WRITE_INVENTORY.running(ctx.services) as result:
        access = None
        if served is not None:
            access = variables.CacheAccess(
                endpoint=ENDPOINT,
                token=served.token,
                repacked=repack.known(Store(ctx.services.paths.cache)),
            )
        addons = selection.applied(ctx.cluster)
        hosts, shared = inventory.compose(
            cluster=ctx.cluster,
            lock=lock,
            machines=nodes.machines,
            access=access,
            ssh_config=nodes.ssh_config,
            node_traits=ctx.node_traits,
            cert_sans=_names(ctx, nodes),
            before=ctx.recorded,
        )
        shared |= variables.addon_vars(addons, removed(ctx.record, addons))
        file_contents.keep(ctx.directory, ctx.cluster, ctx.recorded)
        path = inventory.write(ctx.run_directory / "inventory", hosts, shared)
        result.detail = amounts.count(len(ctx.cluster.nodes), "host")
    return path


def removed(record: Record | None, addons: Sequence[AppliedAddon]) -> tuple[AppliedAddon, ...]:
    """Return the add-ons that the cluster may have and is to have no more."""
    wanted = {addon.name for addon in addons}
    told = [AppliedAddon(**one) for one in (record.addons if record is not None else ())]
    return tuple(addon for addon in told if addon.name not in wanted)


def _names(ctx: Context, nodes: Nodes) -> tuple[str, ...]:
    """Return by what this host may reach the API server: it must be in the certificate."""
    planes = [machine_of(ctx.cluster, node, nodes.machines) for node in ctx.cluster.control_planes]
    host, _ = ctx.provider.api_endpoint(ctx.cluster.name, planes[0].address, API_PORT)  # of any one
    return (host, *(machine.ssh.address for machine in planes if machine.ssh is not None))
