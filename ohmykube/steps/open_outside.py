"""Let nodes and pods reach what the description opens of the outside, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError
from ohmykube.model.cluster import Egress
from ohmykube.model.outside import opened_by
from ohmykube.providers.base import OpensOutside
from ohmykube.steps.step import Step

if TYPE_CHECKING:
    from ohmykube.model.outside import Outside
    from ohmykube.steps.context import Context

OPEN_OUTSIDE = Step("open-outside", "Connect the cluster with the outside")


def wanted_outside(ctx: Context) -> Outside | None:
    """Return what is to be open; None where the machines' network is not the provider's.

    Raises:
        ConfigError: then the description must not say anything of it.
    """
    network = ctx.cluster.network
    if isinstance(ctx.provider, OpensOutside):
        return opened_by(network, offline=ctx.options.offline)
    fields = [] if network.egress in (None, Egress.FULL) else ["spec.network.egress"]
    fields += ["spec.network.hostAccess"] if network.host_access else []
    if fields:
        name = ctx.provider.name
        raise ConfigError(
            f"{' and '.join(fields)} cannot be brought about with provider {name}",
            why=f"the machines of {name} are in a network that ohmykube does not make",
            hint="leave the field out, and limit the network of the machines by its own means",
            id="OMK-C-450",
        )
    return None


def open_outside(ctx: Context) -> None:
    """Bring it about; without effect where it is so."""
    opened = wanted_outside(ctx)
    if opened is None or not isinstance(ctx.provider, OpensOutside):
        OPEN_OUTSIDE.skipped(ctx.services, "the machines' own network")
        return
    with OPEN_OUTSIDE.running(ctx.services) as result:
        ctx.provider.open_outside(ctx.cluster.name, opened)
        result.detail = str(opened)
