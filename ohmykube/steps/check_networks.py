"""Refuse networks that a provider's machines cannot have, before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import ConfigError
from ohmykube.model.networks import AUTO, family_names
from ohmykube.providers.base import OpensOutside

if TYPE_CHECKING:
    from ohmykube.steps.context import Context


def check_networks(ctx: Context) -> None:
    """Look whether the machines can have addresses of these IP families and networks.

    Raises:
        ConfigError: the provider's machines cannot.
    """
    network, provider = ctx.cluster.network, ctx.provider
    able = provider.capabilities.families
    absent = tuple(family for family in network.families if family not in able)
    if absent:
        known = family_names(tuple(sorted(able)))
        raise ConfigError(
            f"machines of provider {provider.name} have no {family_names(absent)} addresses",
            why=f"spec.network.podCIDR {network.pod_cidr} wants them",
            hint=f"networks of {known} alone in podCIDR and serviceCIDR, or another provider",
            id="OMK-C-660",
        )
    if network.machine_cidr != AUTO and not isinstance(provider, OpensOutside):
        raise ConfigError(
            f"spec.network.machineCIDR cannot be brought about with provider {provider.name}",
            why=f"the machines of {provider.name} are in a network that is not asked for there",
            hint="leave the field out",
            id="OMK-C-661",
        )
