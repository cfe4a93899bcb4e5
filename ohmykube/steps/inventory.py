"""Render the inventory of this run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.ansible import inventory, variables
from ohmykube.cache import repack
from ohmykube.cache.store import Store
from ohmykube.steps.fetch_kubeconfig import API_PORT
from ohmykube.steps.tunnel import ENDPOINT

if TYPE_CHECKING:
    from ohmykube.steps.base import Run


class Inventory:
    """A private file: values are serialised, strings from outside are data, never templates."""

    name = "inventory"
    title = "Write the inventory"

    def run(self, run: Run) -> str:
        """Write ``inventory/`` into the run directory."""
        access = None
        if run.cache_token is not None:
            access = variables.CacheAccess(
                endpoint=ENDPOINT,
                token=run.cache_token,
                repacked=repack.known(Store(run.services.paths.cache)),
            )
        hosts, shared = inventory.compose(
            cluster=run.cluster,
            lock=run.lock,
            machines=run.machines,
            access=access,
            ssh_config=run.need_ssh_config(),
            nature=run.nature,
            cert_sans=self._names(run),
            before=run.recorded,
        )
        run.inventory = inventory.write(run.run_directory / "inventory", hosts, shared)
        return f"{len(run.cluster.nodes)} hosts"

    @staticmethod
    def _names(run: Run) -> tuple[str, ...]:
        """Return by what this host may reach the API server: it must be in the certificate."""
        first = run.need_machine(run.cluster.control_planes[0].name)
        host, _ = run.provider.api_endpoint(run.cluster.name, first.address, API_PORT)
        machines = [run.need_machine(node.name) for node in run.cluster.control_planes]
        return (host, *(m.ssh.address for m in machines if m.ssh is not None))
